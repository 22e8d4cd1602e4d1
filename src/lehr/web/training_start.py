"""What a training would be if nothing were chosen: what the model itself says, as the server would take it over.

The page shows this first, and sends whatever differs from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lehr import templates
from lehr.errors import InvalidModel
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.structs import from_struct, to_struct
from lehr.services import named_models
from lehr.services.plans import BESIDE_THE_FORM, inherited, plan_of
from lehr.web.training_form import UNSET, text_of

KNOB = "p."
"""How the names of hyperparameters begin in the page's address."""
ALL = "*"
"""There: all inputs, or all concepts, where the model names some."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """A model's own choices, as far as they hold for one template."""

    template: str
    """As the model spells it where it is the model's; "" for a type without templates."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """The hyperparameters that the model sets, by the form's names."""
    other_names: tuple[str, ...] = ()
    """By which the model sets some of them."""
    concepts: tuple[str, ...] = ()
    """Ids; none: all of the app."""
    dataset: str = ""
    frozen: str = ""
    """The dataset's version."""
    earlier: str = ""
    """The model that it continues, as `named_models` writes it."""


def template_of(model: resources_pb2.Model) -> str:
    """The name of the model's own template; "" where it has none that is known."""
    named = from_struct(model.train_info.params).get("template")
    try:
        return templates.find(model.model_type_id, str(named)).name if named else ""
    except InvalidModel:
        return ""


def start_of(ref: AppRef, model: resources_pb2.Model, template: str) -> Start:
    """What a version of the model would be, with this template and nothing else chosen."""
    spelled = template
    if template and template == template_of(model):
        spelled = str(from_struct(model.train_info.params)["template"])
    chosen = resources_pb2.ModelVersion()
    if spelled:
        chosen.train_info.params.CopyFrom(to_struct({"template": spelled}))
    version = inherited(model, chosen)
    params = from_struct(version.train_info.params)
    raw = {name: value for name, value in params.items() if name not in BESIDE_THE_FORM and value is not None}
    start = Start(
        template=spelled,
        values=raw,
        concepts=tuple(concept.id for concept in version.output_info.data.concepts),
        dataset=str(params.get("dataset_id") or version.train_info.dataset.id),
        frozen=str(params.get("dataset_version_id") or version.train_info.dataset.version.id),
        earlier=named_models.written(ref, version.train_info.resume_from_model),
    )
    try:
        form = plan_of(ref, model.model_type_id, version, is_complete=False).form
    except InvalidModel:  # said where the form is checked; a clusterer has no template
        return start
    values = form.model_dump(mode="json", include=form.model_fields_set)
    return replace(start, values=values, other_names=tuple(name for name in raw if name not in values))


def same_as(ref: AppRef, model: resources_pb2.Model, version: resources_pb2.ModelVersion) -> dict[str, str]:
    """What the page's address says for a training like that of a version: whatever is not as the model itself says."""
    alone = resources_pb2.Model(model_type_id=model.model_type_id)
    for name in ("train_info", "output_info", "input_info"):
        getattr(alone, name).CopyFrom(getattr(version, name))
    template = template_of(alone)
    wanted, start = start_of(ref, alone, template), start_of(ref, model, template)
    changed = {
        name: text_of(value) or UNSET for name, value in wanted.values.items() if value != start.values.get(name)
    }
    left_out = dict.fromkeys(start.values.keys() - wanted.values.keys(), UNSET)
    choices = {
        "template": template,
        "dataset": said(wanted.dataset, start.dataset),
        "frozen": said(wanted.frozen, start.frozen if wanted.dataset == start.dataset else ""),
        "concepts": said(",".join(wanted.concepts), ",".join(start.concepts)),
        "resume": said(wanted.earlier, start.earlier),
        **{KNOB + name: text for name, text in {**changed, **left_out}.items()},
    }
    return {name: text for name, text in choices.items() if text}


def said(value: str, start: str) -> str:
    """How the page's address says a choice; "" where it is as at the start."""
    return "" if value == start else value or ALL
