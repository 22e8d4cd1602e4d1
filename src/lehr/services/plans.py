"""What a model version asks for, checked: template, hyperparameters, concepts, data. Decides only; stores nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import Message

from lehr import templates
from lehr.errors import InvalidModel
from lehr.hyperparameters import RATES, Form, names_of, parse
from lehr.learn.items import one_concept_alone
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.structs import from_struct
from lehr.services import named_models
from lehr.store.items import Source
from lehr.templates import Template, is_by_angles

_OF_THE_DATA = ("dataset_id", "dataset_version_id")
_SOLVED = "embedding-classifier"
"""The model type that is solved anew each time, so that there is nothing to go on from."""
BESIDE_THE_FORM = ("template", *_OF_THE_DATA)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training that may start."""

    template: Template
    form: Form
    notices: tuple[str, ...]
    """Sentences about values that were rounded or that will have no effect."""
    concept_ids: tuple[str, ...]
    """Empty: all concepts of the app."""
    source: Source
    closed_environment: bool
    base: str = ""
    """The trained model, or published weights, that the form names to start from or to build on."""
    earlier: str = ""
    """The trained model that this training continues, as `named_models` writes it."""

    @property
    def needs_embedder(self) -> bool:
        """Whether the base can only be a visual-embedder."""
        return self.template.follows_base


def plan_of(app: AppRef, model_type_id: str, version: resources_pb2.ModelVersion, *, is_complete: bool = True) -> Plan:
    """Checks a version that is to be trained. Raises InvalidModel or InvalidParams (all problems at once).

    `is_complete` False: concepts may still be added, so that too few of them are no problem yet.
    """
    params = from_struct(version.train_info.params)
    template = _template(model_type_id, params.get("template"))
    own, notices = _hyperparameters(params, version.output_info, template)
    own |= _bases_in(app, own, version, template)
    parsed = parse(template.form, own)
    concept_ids = tuple(concept.id for concept in version.output_info.data.concepts)
    if is_complete and len(concept_ids) == 1 and getattr(parsed.form, "is_exclusive", False):
        raise InvalidModel(one_concept_alone(concept_ids[0], is_by_angles=is_by_angles(parsed.form)))
    return Plan(
        template=template,
        form=parsed.form,
        notices=(*notices, *parsed.notices),
        concept_ids=concept_ids,
        source=_source(app, params, version.train_info),
        closed_environment=version.output_info.output_config.closed_environment,
        base=_base_of(parsed.form),
        earlier=_earlier(app, template, version.train_info),
    )


def source_of(app: AppRef, model_type_id: str, version: resources_pb2.ModelVersion) -> Source:
    """The data that a version names, whether or not its hyperparameters would be accepted today.

    Raises InvalidModel where it names no template, or data in a way that cannot be read.
    """
    params = from_struct(version.train_info.params)
    _template(model_type_id, params.get("template"))
    return _source(app, params, version.train_info)


def _template(model_type_id: str, name: object) -> Template:
    """The template named; a model type with one that needs no name has it without."""
    of_type = templates.of_type(model_type_id)
    if name:
        return templates.find(model_type_id, str(name))
    bare = next((template for template in of_type if not template.needs_name), None)
    if bare is None:
        known = ", ".join(template.name for template in of_type)
        raise InvalidModel(f"train_info.params.template is missing; for {model_type_id} there are: {known}.")
    return bare


def _bases_in(
    app: AppRef, own: Mapping[str, object], version: resources_pb2.ModelVersion, template: Template
) -> dict[str, object]:
    """The models to build on, as text, from wherever and in whatever form clients put them."""
    embedder = named_models.embed_model(app, version) if template.follows_base else ""
    weights = own.get("pretrained_weights")
    named = named_models.written_object(app, weights) if isinstance(weights, Mapping) else ""
    found = {"base_embed_model": embedder, "pretrained_weights": named}
    return {name: given for name, given in found.items() if given}


def _base_of(form: Form) -> str:
    given = getattr(form, "base_embed_model", None) or getattr(form, "pretrained_weights", None) or ""
    return given.strip()


def _earlier(app: AppRef, template: Template, train_info: resources_pb2.TrainInfo) -> str:
    """What resume_from_model names; an empty one says that none is continued. Raises InvalidModel where it has no
    meaning."""
    if not train_info.resume_from_model.ListFields():
        return ""
    if template.follows_base:
        raise InvalidModel(
            "train_info.resume_from_model has no meaning for an embedding-classifier, which is solved anew in seconds; "
            "leave it out."
        )
    named = named_models.written(app, train_info.resume_from_model)
    if not named:
        raise InvalidModel(
            "train_info.resume_from_model needs the id of a model; its newest version is taken, or the one named."
        )
    return named


def _hyperparameters(
    params: Mapping[str, object], output_info: resources_pb2.OutputInfo, template: Template
) -> tuple[dict[str, object], list[str]]:
    """The form's own values, and what is to be said of them.

    `concepts_mutually_exclusive` chooses softmax where `logreg` was not given, or as its default, which clients echo.
    """
    own = {name: value for name, value in params.items() if name not in BESIDE_THE_FORM and value is not None}
    if not output_info.output_config.concepts_mutually_exclusive or "logreg" not in template.form.model_fields:
        return own, []
    given = next((spelling for spelling, name in names_of(template.form, own).items() if name == "logreg"), None)
    if given is None:
        return own | {"logreg": 0}, []
    if own[given] != template.form.model_fields["logreg"].default:
        return own, []
    notice = "output_config.concepts_mutually_exclusive replaces the default of logreg: it is 0 (softmax)"
    return own | {given: 0}, [notice]


def _source(app: AppRef, params: Mapping[str, object], train_info: resources_pb2.TrainInfo) -> Source:
    dataset_id = params.get("dataset_id") or train_info.dataset.id or ""
    version_id = params.get("dataset_version_id") or train_info.dataset.version.id or ""
    if not isinstance(dataset_id, str) or not isinstance(version_id, str):
        raise InvalidModel(f"dataset_id and dataset_version_id are texts; given {dataset_id!r} and {version_id!r}.")
    if version_id and not dataset_id:
        raise InvalidModel(f"dataset_version_id {version_id!r} needs its dataset_id beside it.")
    return Source(app=app, dataset_id=dataset_id, dataset_version_id=version_id)


def inherited(model: resources_pb2.Model, wanted: resources_pb2.ModelVersion | None) -> resources_pb2.ModelVersion:
    """The version to make: what was asked for, and from the model what was left out.

    Hyperparameters, and the earlier model to continue, are inherited as long as the template is the same; another
    template starts afresh. The data set is inherited as a whole, or not at all.
    """
    version = resources_pb2.ModelVersion()
    if wanted is not None:
        version.CopyFrom(wanted)
    _inherit_train_info(model.model_type_id, model.train_info, version.train_info)
    if not version.output_info.data.concepts:
        version.output_info.data.concepts.extend(model.output_info.data.concepts)
    for field in ("output_config", "params"):
        _inherit(model.output_info, version.output_info, field)
    _inherit(model, version, "input_info")
    return version


def _inherit(old: Message, new: Message, field: str) -> None:
    if old.HasField(field) and not new.HasField(field):
        getattr(new, field).CopyFrom(getattr(old, field))


def _inherit_train_info(model_type_id: str, old: resources_pb2.TrainInfo, new: resources_pb2.TrainInfo) -> None:
    left_out = set(old.params.fields) - set(new.params.fields)
    if new.HasField("dataset") or "dataset_id" in new.params.fields:
        left_out -= set(_OF_THE_DATA)
    else:
        _inherit(old, new, "dataset")
    if _is_same_template(model_type_id, old, new):
        left_out -= _displaced(model_type_id, old, new)
        if not from_struct(new.params).get("pretrained_weights") and model_type_id != _SOLVED:
            _inherit(old, new, "resume_from_model")
    else:
        left_out &= set(_OF_THE_DATA)
    for name, value in old.params.fields.items():
        if name in left_out:
            new.params.fields[name].CopyFrom(value)


def _is_same_template(model_type_id: str, old: resources_pb2.TrainInfo, new: resources_pb2.TrainInfo) -> bool:
    """Whether both mean one template, however it is spelled; it is where the new one names none."""
    if "template" not in new.params.fields:
        return True
    was, wanted = (from_struct(each.params).get("template") for each in (old, new))
    try:
        return was == wanted or _template(model_type_id, was) is _template(model_type_id, wanted)
    except InvalidModel:  # plan_of will say so
        return False


def _displaced(model_type_id: str, old: resources_pb2.TrainInfo, new: resources_pb2.TrainInfo) -> set[str]:
    """Spellings of old hyperparameters that new ones replace, aliases included; any new rate replaces all old ones."""
    given = from_struct(new.params)
    try:
        template = _template(model_type_id, given.get("template") or from_struct(old.params).get("template"))
    except InvalidModel:  # no hyperparameters of a template
        return set()
    names = names_of(template.form, {*given, *old.params.fields})
    replaced = {names[spelling] for spelling in given}
    if any(names[spelling] in RATES and value is not None for spelling, value in given.items()):
        replaced |= set(RATES)
    return {spelling for spelling in old.params.fields if names[spelling] in replaced}
