"""Versions side by side: what they reached, how their curves went, where their hyperparameters differ."""

from __future__ import annotations

from collections.abc import Sequence

from lehr.protocol import resources_pb2
from lehr.web import charts, learned, pieces
from lehr.web.client import Refused
from lehr.web.page import Page, Visit
from lehr.web.version_parts import plain

_MOST = len(charts.COLOURS)


async def build(visit: Visit) -> None:
    """`v` in the address names them: `model/version,model/version`."""
    names = [each for each in visit.query("v").split(",") if each][:_MOST]
    pieces.title("Compare versions", "Any versions of any models of this app; the address keeps which.")
    await _chooser(visit, names)
    models = [model for model in [await _model(visit, name) for name in names] if model is not None]
    if len(models) < 2:
        pieces.empty("compare_arrows", "Choose two versions or more", "Their figures and curves are shown together.")
        return
    histories = []
    for model in models:
        history = learned.History(visit, model.id, model.model_version.id)
        await history.fetch()
        histories.append(history)
    labels = _labels(models)
    _figures(visit, models, labels)
    _curves(histories, labels)
    _differences(models, labels)


async def _chooser(visit: Visit, names: Sequence[str]) -> None:
    found = (await visit.ask("ListModels", page=1, per_page=100)).models
    options = await learned.trained_versions(visit, found)
    known = {**options, **{name: name for name in names if name not in options}}
    choice = pieces.choice(known, "Versions", list(names), multiple=True).classes("lehr-wide-field").props("use-chips")

    def change(chosen: Sequence[str]) -> None:
        visit.remember(v=",".join(chosen))
        visit.reload()

    choice.on_value_change(lambda event: change(event.value or []))


async def _model(visit: Visit, name: str) -> resources_pb2.Model | None:
    """None for one that is gone."""
    model_id, _, version_id = name.partition("/")
    try:
        found: resources_pb2.Model = (await visit.ask("GetModel", model_id=model_id, version_id=version_id)).model
    except Refused as error:
        pieces.text(error.details, classes="lehr-problem").props("role=alert")
        return None
    return found


def _labels(models: Sequence[resources_pb2.Model]) -> list[str]:
    """Names that tell them apart."""
    one_model = len({model.id for model in models}) == 1
    names = [
        learned.version_name(model.model_version)
        if one_model
        else f"{model.id} · {learned.version_name(model.model_version)}"
        for model in models
    ]
    return [
        name if names.count(name) == 1 else f"{name} ({model.model_version.id[:6]})"
        for name, model in zip(names, models, strict=True)
    ]


def _figures(visit: Visit, models: Sequence[resources_pb2.Model], labels: Sequence[str]) -> None:
    rows: dict[str, list[float | None]] = {}
    for number, model in enumerate(models):
        for name, value in learned.figures(model.model_type_id, model.model_version.metrics.summary):
            rows.setdefault(name, [None] * len(models))[number] = value
    headings = [
        (label, visit.under_app("models", model.id, "versions", model.model_version.id))
        for model, label in zip(models, labels, strict=True)
    ]
    with (
        pieces.card("What they reached"),
        pieces.element("div", "lehr-table-scroll"),
        pieces.element("table", "lehr-table"),
    ):
        pieces.text("What they reached", tag="caption", classes="lehr-hidden")
        with pieces.element("thead"), pieces.element("tr"):
            pieces.text("Figure", tag="th").props("scope=col")
            for label, path in headings:
                with pieces.element("th", "lehr-number").props("scope=col"):
                    pieces.text_link(label, path)
        with pieces.element("tbody"):
            for name, values in rows.items():
                _figure_row(name, values)


def _figure_row(name: str, values: Sequence[float | None]) -> None:
    known = [value for value in values if value is not None]
    with pieces.element("tr"):
        pieces.text(name, tag="td")
        for value in values:
            is_best = value is not None and len(known) > 1 and value == max(known) and min(known) < value
            shown = "" if value is None else f"{value:.3f}"
            pieces.text(shown, tag="td", classes=f"lehr-number {'lehr-best' if is_best else ''}")


def _curves(histories: Sequence[learned.History], labels: Sequence[str]) -> None:
    metrics = dict.fromkeys(name for history in histories for name in history.metrics())
    pairs = list(zip(histories, labels, strict=True))
    wanted = [
        (
            "Training loss",
            charts.Axes(x="epoch", least=0),
            [
                charts.Series(name=label, points=[(point["epoch"], point["train_loss"]) for point in history.epochs])
                for history, label in pairs
            ],
        )
    ]
    for name in metrics:
        heading = f"{learned.NAMES.get(name, name.replace('_', ' '))}, held out"
        axes = charts.Axes(x="epoch", least=0, most=None if name == "loss" else 1)
        wanted.append((heading, axes, [charts.Series(name=label, points=h.of_metric(name)) for h, label in pairs]))
    with pieces.element("div", "lehr-halves"):
        for heading, axes, series in wanted:
            if any(each.points for each in series):
                with pieces.card(heading):
                    charts.Curves(heading, axes, series)


def _differences(models: Sequence[resources_pb2.Model], labels: Sequence[str]) -> None:
    found = [
        {"template": learned.template_of(model.model_version), **learned.params(model.model_version)}
        for model in models
    ]
    names = list(dict.fromkeys(name for values in found for name in values))
    different = [name for name in names if len({plain(values.get(name)) for values in found}) > 1]
    with pieces.card("Where they differ"):
        if not different:
            pieces.text("Their hyperparameters are the same.", classes="lehr-quiet")
            return
        with pieces.table("Hyperparameters that differ", "Hyperparameter", *labels):
            for name in different:
                with pieces.element("tr"):
                    pieces.text(name, tag="td", classes="lehr-mono")
                    for values in found:
                        value = values.get(name)
                        pieces.text("" if value is None else plain(value), tag="td", classes="lehr-mono")


PAGE = Page(path="/users/{user_id}/apps/{app_id}/compare", title="Compare", build=build, under="Models")
