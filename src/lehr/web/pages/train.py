"""The second half of a training: template, data, hyperparameters, what it will take; then it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lehr.protocol import resources_pb2
from lehr.protocol.structs import to_struct
from lehr.services import named_models
from lehr.services.plans import inherited, plan_of
from lehr.web import learned, pieces, words
from lehr.web.app_facts import concept_names, dataset_ids
from lehr.web.choices import Choices, Option
from lehr.web.page import Page, Visit
from lehr.web.training_form import Checked, Form, checked, knobs_of, name_of, read
from lehr.web.training_start import ALL, KNOB, Start, said, start_of, template_of

_TEMPLATE = "train_info.params.template"


@dataclass(kw_only=True)
class Order:
    """The training as the address says it; what is asked for is made of it.

    What the address does not say is as the model says, or else the default. All that is not a default is sent.
    """

    visit: Visit
    model: resources_pb2.Model
    start: Start
    fields: Sequence[resources_pb2.ModelTypeField]
    concepts: dict[str, str] = field(default_factory=dict)

    def given(self) -> dict[str, str]:
        """Hyperparameters that differ from the start, as text."""
        return {name.removeprefix(KNOB): value for name, value in self.visit.state.items() if name.startswith(KNOB)}

    @property
    def dataset(self) -> str:
        """Its id; "": all inputs of the app."""
        return self._chosen("dataset", self.start.dataset)

    @property
    def frozen(self) -> str:
        """The dataset's version; "": as it is when the training starts."""
        return self._chosen("frozen", self.start.frozen if self.dataset == self.start.dataset else "")

    @property
    def chosen_concepts(self) -> list[str]:
        """Ids; none: all of the app."""
        return [each for each in self._chosen("concepts", ",".join(self.start.concepts)).split(",") if each]

    @property
    def earlier(self) -> str:
        """The trained model that is continued, as `named_models` writes it; "": none."""
        return self._chosen("resume", self.start.earlier)

    def _chosen(self, name: str, start: str) -> str:
        said = self.visit.query(name)
        return "" if said == ALL else said or start

    def version(self) -> resources_pb2.ModelVersion:
        """What PostModelVersions gets."""
        params = {**self._params(), **self._data()}
        version = resources_pb2.ModelVersion(train_info=resources_pb2.TrainInfo(params=to_struct(params)))
        version.description = self.visit.query("about")
        if self._data():
            version.train_info.dataset.SetInParent()  # nothing of the model's
        if self.chosen_concepts != list(self.start.concepts):
            for concept_id in self.chosen_concepts or self.concepts:
                version.output_info.data.concepts.add(id=concept_id, name=self.concepts.get(concept_id, concept_id))
        if self.earlier or self.start.earlier:
            named = named_models.read(self.earlier) or resources_pb2.Model(id=self.earlier)
            version.train_info.resume_from_model.CopyFrom(named)
        return version

    def _params(self) -> dict[str, Any]:
        """The hyperparameters that were chosen or that the model sets, by the form's names and no others."""
        texts, start = self.given(), self.start
        chosen = {name_of(each): read(each, texts[name_of(each)]) for each in self.fields if name_of(each) in texts}
        template = {"template": start.template} if start.template else {}
        return {**dict.fromkeys(start.other_names), **start.values, **chosen, **template}

    def _data(self) -> dict[str, Any]:
        """The dataset where it is another than the model's; None where the model has one and this has none."""
        wanted = {"dataset_id": self.dataset, "dataset_version_id": self.frozen}
        own = {"dataset_id": self.start.dataset, "dataset_version_id": self.start.frozen}
        if wanted == own:
            return {}
        return {name: value or None for name, value in wanted.items() if value or own[name]}

    def check(self) -> Checked:
        """What the server would say, without asking it to do anything."""
        if self.model.model_type_id == "clusterer":
            return Checked()
        ref, kind = self.visit.needed_app(), self.model.model_type_id
        return checked(lambda: plan_of(ref, kind, inherited(self.model, self.version())).notices)


async def build(visit: Visit) -> None:
    """Everything that is chosen is in the address."""
    model = (await visit.ask("GetModel", model_id=visit.part("model_id"))).model
    model_type = (await visit.ask("GetModelType", model_type_id=model.model_type_id)).model_type
    pieces.title(f"Train {model.id}", model_type.description)
    templates = _templates(model_type)
    template = _template(visit, model, templates)
    of_template = {each.id: each.model_type_fields for each in templates}
    fields = knobs_of(of_template[template] if template else model_type.model_type_fields)
    start = start_of(visit.needed_app(), model, template)
    order = Order(visit=visit, model=model, start=start, fields=fields, concepts=await concept_names(visit))
    if templates:
        _template_card(visit, templates, template)
    await _data_card(order)
    await _start_card(order, _form_card(order))


def _templates(model_type: resources_pb2.ModelType) -> list[resources_pb2.ModelTypeEnumOption]:
    return [
        option
        for each in model_type.model_type_fields
        if each.path == _TEMPLATE
        for option in each.model_type_enum_options
    ]


def _template(visit: Visit, model: resources_pb2.Model, templates: Sequence[resources_pb2.ModelTypeEnumOption]) -> str:
    """The one in the address, else the model's own, else the recommended one."""
    known = [each.id for each in templates]
    for wanted in (visit.query("template"), template_of(model)):
        if wanted in known:
            return wanted
    return next((each.id for each in templates if each.recommended), known[0] if known else "")


def _template_card(visit: Visit, templates: Sequence[resources_pb2.ModelTypeEnumOption], chosen: str) -> None:
    options = [
        Option(id=each.id, title=each.id, lines=_lines(each), badge="recommended" if each.recommended else "")
        for each in templates
    ]

    def choose(template: str) -> None:
        kept = {name: "" for name in visit.state if name.startswith(KNOB)}
        visit.remember(**kept, template=template)
        visit.reload()

    with pieces.card("Template"):
        Choices("Template", options, chosen, choose)


def _lines(option: resources_pb2.ModelTypeEnumOption) -> list[str]:
    """When to use it first, then what it is, then what it reached."""
    what, _, rest = option.description.partition("\n")
    when, _, measured = rest.partition("\n")
    return [when, what, f"Measured: {measured}" if measured else ""]


# -- the data ----------------------------------------------------------------------------------------------------------


async def _data_card(order: Order) -> None:
    visit = order.visit
    datasets = await dataset_ids(visit)
    dataset = order.dataset

    def choose(value: str) -> None:
        visit.remember(dataset=said(value, order.start.dataset), frozen="")
        visit.reload()

    with pieces.card("What it learns from"):
        with pieces.element("div", "lehr-toolbar"):
            options = {"": "All inputs of the app", **{each: each for each in datasets}}
            if dataset and dataset not in options:
                options[dataset] = f"{dataset} (not here)"
            choice = pieces.choice(options, "Dataset", dataset)
            choice.on_value_change(lambda event: choose(str(event.value or "")))
            if dataset in datasets:
                await _frozen_choice(order)
                pieces.text_link("Its health", visit.under_app("datasets", dataset))
        _concept_choice(order)
        await _earlier_choice(order)


async def _frozen_choice(order: Order) -> None:
    visit, start = order.visit, order.start.frozen if order.dataset == order.start.dataset else ""
    answer = await visit.ask("ListDatasetVersions", dataset_id=order.dataset, page=1, per_page=100)
    frozen = {each.id: each.description or each.id[:8] for each in answer.dataset_versions}
    options = {"": "As it is when it starts", **frozen}
    if order.frozen not in options:
        options[order.frozen] = f"{order.frozen[:8]} (not here)"
    choice = pieces.choice(options, "Version", order.frozen)
    choice.on_value_change(lambda event: visit.remember(frozen=said(str(event.value or ""), start)))


def _concept_choice(order: Order) -> None:
    if order.model.model_type_id == "clusterer":
        return
    options = {**{each: f"{each} (not here)" for each in order.chosen_concepts}, **order.concepts}
    choice = pieces.choice(options, "Concepts (none chosen: all of the app)", order.chosen_concepts, multiple=True)
    choice.classes("lehr-wide-field").props("use-chips")
    start = ",".join(order.start.concepts)
    choice.on_value_change(lambda event: order.visit.remember(concepts=said(",".join(event.value or []), start)))


async def _earlier_choice(order: Order) -> None:
    """Of which trained version the network goes on, if any."""
    if order.model.model_type_id in ("clusterer", "embedding-classifier"):
        return
    kind = order.model.model_type_id
    models = (await order.visit.ask("ListModels", model_type_id=kind, page=1, per_page=20)).models
    versions = await learned.trained_versions(order.visit, models)
    if not versions and not order.earlier:
        return
    options = {"": "Nothing: begin afresh", **versions}
    if order.earlier not in options:
        options[order.earlier] = order.earlier
    choice = pieces.choice(options, "Go on from", order.earlier)
    choice.classes("lehr-wide-field")
    start = order.start.earlier
    choice.on_value_change(lambda event: order.visit.remember(resume=said(str(event.value or ""), start)))


# -- hyperparameters ---------------------------------------------------------------------------------------------------


class _FormCard:
    """The form, and what the server would say of it now."""

    def __init__(self, order: Order) -> None:
        self._order = order
        with pieces.card("Hyperparameters"):
            self._said = pieces.element("div", "lehr-stack")
            self._form = Form(order.fields, order.start.values, order.given(), self._changed)
        self.is_good = True
        self._check()

    def _changed(self, name: str, text: str) -> None:
        self._order.visit.remember(**{KNOB + name: text})
        self._check()

    def _check(self) -> None:
        found = self._order.check()
        self.is_good = not found.problems
        left = self._form.tell(found.problems)
        self._said.clear()
        with self._said:
            for problem in left:
                pieces.text(problem, classes="lehr-problem").props("role=alert")
            for notice in found.notices:
                pieces.text(notice, classes="lehr-quiet lehr-small")


def _form_card(order: Order) -> _FormCard:
    return _FormCard(order)


# -- the start ---------------------------------------------------------------------------------------------------------


async def _start_card(order: Order, form: _FormCard) -> None:
    visit = order.visit
    with pieces.card("What it will take"):
        said = pieces.text(
            "A few steps are measured on this machine; the first time that takes some seconds.", classes="lehr-quiet"
        ).props("role=status")

        async def estimate() -> None:
            said.set_text("Measuring …")
            try:
                said.set_text(await _estimated(order))
            except Exception:
                said.set_text("It could not be measured.")
                raise

        async def start() -> None:
            if not form.is_good:
                pieces.warn("Some values cannot be used: see what is written in red.")
                return
            answer = await visit.ask("PostModelVersions", model_id=order.model.id, model_versions=[order.version()])
            visit.go(visit.under_app("models", order.model.id, "versions", answer.model.model_version.id))

        about = pieces.field("What is new in this version? (optional)", visit.query("about"))
        about.on_value_change(lambda event: visit.remember(about=str(event.value or "")))
        with pieces.row("lehr-end"):
            if order.model.model_type_id != "clusterer":
                pieces.button("Estimate time and memory", estimate, icon="timer")
            pieces.button("Start training", start, icon="play_arrow", kind="main")


async def _estimated(order: Order) -> str:
    answer = await order.visit.ask(
        "PostModelVersionsTrainingTimeEstimate", model_id=order.model.id, model_versions=[order.version()]
    )
    [estimate] = answer.training_time_estimates
    return f"About {words.duration(estimate.seconds)} on this machine. {answer.status.details}"


PAGE = Page(path="/users/{user_id}/apps/{app_id}/models/{model_id}/train", title="Train", build=build, under="Models")
