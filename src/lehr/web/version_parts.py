"""Parts of a version's page: what it reached, early warnings with their images, its evaluations, its export."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

from nicegui import ui

from lehr.protocol import resources_pb2, status_code_pb2
from lehr.web import learned, pieces, words
from lehr.web.app_facts import dataset_ids
from lehr.web.client import Refused
from lehr.web.page import Visit
from lehr.web.thumbnails import Thumbnails, strip

_SHOWN = 12
_LOOK_SECONDS = 1.0


def progress(percent: int) -> None:
    """How much is done."""
    with pieces.element("div", "lehr-progress") as bar:
        bar.props.update({"role": "progressbar", "aria-valuenow": percent, "aria-valuemin": 0, "aria-valuemax": 100})
        bar.props["aria-label"] = "How much of the training is done"
        pieces.element("div").style(f"width: {max(percent, 1)}%")


def next_steps(visit: Visit, model: resources_pb2.Model, version: resources_pb2.ModelVersion) -> None:
    """Buttons for what a trained version is good for."""
    named = f"{model.id}/{version.id}"
    if model.model_type_id == "visual-embedder":
        query = urlencode({"type": "embedding-classifier", "base": named})
        pieces.link_button("Classify with it", f"{visit.under_app('train')}?{query}", icon="bolt")
    if model.model_type_id != "clusterer":
        path = visit.under_app("models", model.id, "train")
        pieces.link_button("Use as base", f"{path}?{urlencode({'resume': named})}", icon="fork_right")
    pieces.button("Export", lambda: export(visit, model, version), icon="download")


def summary(visit: Visit, model: resources_pb2.Model, version: resources_pb2.ModelVersion) -> None:
    """The figures on what the training kept back."""
    found = learned.figures(model.model_type_id, version.metrics.summary)
    if not found:
        return
    with pieces.element("div", "lehr-figures"):
        for name, value in found:
            pieces.figure(f"{value:.3f}", name)


# -- early warnings ----------------------------------------------------------------------------------------------------


async def findings(visit: Visit, version: resources_pb2.ModelVersion) -> None:
    """What was noticed about the data before the first step, with the images behind it."""
    known = learned.facts(version)
    found: list[dict[str, Any]] = list(known.get("findings") or [])
    told = {each["text"] for each in found}
    notes = [text for text in known.get("warnings") or [] if text not in told]
    if not found and not notes:
        return
    thumbnails = Thumbnails(visit)
    await thumbnails.fetch(_input_id(each) for finding in found for each in finding["item_ids"][:_SHOWN])
    with pieces.card("Early warnings"):
        for finding in found:
            with pieces.element("div", "lehr-finding lehr-finding-warn"):
                pieces.icon("warning")
                with pieces.element("div", "lehr-grow"):
                    pieces.text(finding["text"], classes="lehr-wrap")
                    if finding["item_ids"]:
                        strip(visit, [_input_id(each) for each in finding["item_ids"][:_SHOWN]], thumbnails)
        for note in notes:
            with pieces.element("div", "lehr-finding"):
                pieces.icon("info")
                pieces.text(note, classes="lehr-grow lehr-wrap")


def _input_id(item_id: str) -> str:
    """The input of an item that may be a frame of it."""
    return item_id.partition("@")[0]


# -- evaluations -------------------------------------------------------------------------------------------------------


async def evaluations(visit: Visit, model: resources_pb2.Model, version: resources_pb2.ModelVersion) -> None:
    """Every evaluation of the version, and the button for another; live while one is computed."""
    if not model.model_type_id.endswith(("classifier", "detector", "embedder")):
        return
    found = await _evaluations(visit, model, version)

    def draw(_: pieces.Redrawn) -> None:
        if not found:
            pieces.text("None yet.", classes="lehr-quiet")
            return
        with pieces.table("Evaluations", "Of", "State", "Result"):
            for each in found:
                _evaluation(visit, model, each)

    with pieces.card():
        with pieces.element("div", "lehr-line lehr-spread"):
            pieces.text("Evaluations", tag="h2")
            pieces.button(
                "Evaluate on a dataset", lambda: _ask_to_evaluate(visit, model, version, look), icon="fact_check"
            )
        shown = pieces.Redrawn(draw)

    async def look() -> None:
        found[:] = await _evaluations(visit, model, version)
        shown.draw()

    async def look_if_needed() -> None:
        if any(_is_running(each) for each in found):
            await look()

    visit.every(_LOOK_SECONDS, look_if_needed)


async def _evaluations(
    visit: Visit, model: resources_pb2.Model, version: resources_pb2.ModelVersion
) -> list[resources_pb2.EvalMetrics]:
    answer = await visit.ask(
        "ListModelVersionEvaluations", model_id=model.id, model_version_id=version.id, page=1, per_page=100
    )
    return list(answer.eval_metrics)


def _is_running(metrics: resources_pb2.EvalMetrics) -> bool:
    return metrics.status.code in (status_code_pb2.MODEL_QUEUED_FOR_EVALUATION, status_code_pb2.MODEL_EVALUATING)


def _evaluation(visit: Visit, model: resources_pb2.Model, metrics: resources_pb2.EvalMetrics) -> None:
    is_good = metrics.status.code == status_code_pb2.MODEL_EVALUATED
    dataset = metrics.ground_truth_dataset.id
    with pieces.element("tr"):
        with pieces.element("td", "lehr-wrap"):
            pieces.text_link(dataset or "all inputs", visit.under_app("evaluations", metrics.id))
            if is_good:
                pieces.text(metrics.status.details, classes="lehr-quiet lehr-small")
        with pieces.element("td"):
            if is_good:
                pieces.badge("done", "good")
            elif _is_running(metrics):
                pieces.badge(f"{metrics.status.percent_completed} %", "busy")
            else:
                pieces.badge("failed", "bad")
        with pieces.element("td"):
            best = learned.figures(model.model_type_id, metrics.summary)[:1]
            text = f"{best[0][0]} {best[0][1]:.3f}" if best else ""
            pieces.text(text if is_good else ("" if _is_running(metrics) else metrics.status.details), tag="span")


async def _ask_to_evaluate(
    visit: Visit,
    model: resources_pb2.Model,
    version: resources_pb2.ModelVersion,
    after: Callable[[], Awaitable[None]],
) -> None:
    options = {"": "All inputs of the app", **{each: each for each in await dataset_ids(visit)}}
    with pieces.dialog("Evaluate") as window, pieces.dialog_card("Evaluate on a dataset"):
        pieces.text(
            "Its labels are taken for the truth. What the version was trained on it knows already.",
            classes="lehr-quiet",
        )
        choice = pieces.choice(options, "Dataset", "")

        async def start() -> None:
            order = resources_pb2.EvalMetrics()
            order.model.id, order.model.model_version.id = model.id, version.id
            if choice.value:
                order.ground_truth_dataset.id = str(choice.value)
            await visit.ask("PostEvaluations", eval_metrics=[order])
            window.close()
            await after()

        with pieces.row("lehr-end"):
            pieces.button("Cancel", window.close)
            pieces.button("Evaluate", start, kind="main")
    window.open()


# -- export ------------------------------------------------------------------------------------------------------------


async def export(visit: Visit, model: resources_pb2.Model, version: resources_pb2.ModelVersion) -> None:
    """Asks for the export and follows it in a window, to its download."""
    fields = {"model_id": model.id, "version_id": version.id}
    found = (await visit.ask("PutModelVersionExports", **fields)).export
    state = {"export": found}
    with pieces.dialog("Export") as window, pieces.dialog_card("Export"):
        about = (
            "One zip: the weights (safetensors), an ONNX form checked against them, and what is needed to use them "
            "elsewhere."
        )
        pieces.text(about, classes="lehr-quiet")
        shown = pieces.Redrawn(lambda _: _export_state(state["export"]))
        with pieces.row("lehr-end"):
            pieces.button("Close", window.close)

    async def look() -> None:
        if state["export"].status.code == status_code_pb2.MODEL_EXPORTED:
            timer.cancel()
            return
        try:
            state["export"] = (await visit.ask("GetModelVersionExport", **fields)).export
        except Refused as error:
            state["export"] = resources_pb2.ModelVersionExport()
            state["export"].status.details = error.details
            timer.cancel()
        shown.draw()

    with window:
        timer = ui.timer(_LOOK_SECONDS, look)
    window.on("hide", timer.cancel)
    window.open()


def _export_state(found: resources_pb2.ModelVersionExport) -> None:
    if found.status.code == status_code_pb2.MODEL_EXPORTED:
        address = urlsplit(found.url)
        path = f"{address.path}?{address.query}" if address.query else address.path
        pieces.link_button(f"Download ({words.size(found.size)})", path, icon="download", kind="main")
    elif found.status.code in (status_code_pb2.MODEL_EXPORT_PENDING, status_code_pb2.MODEL_EXPORTING):
        pieces.badge("being made", "busy").props("role=status")
        if found.status.percent_completed:
            progress(found.status.percent_completed)
        pieces.text(found.status.details, classes="lehr-quiet lehr-small")
    else:
        pieces.text(found.status.details or "The export failed.", classes="lehr-problem lehr-wrap").props("role=alert")


# -- hyperparameters ---------------------------------------------------------------------------------------------------


def parameters(version: resources_pb2.ModelVersion) -> None:
    """With what it was trained."""
    known = learned.facts(version)
    values = {"template": learned.template_of(version), **learned.params(version)}
    for name in ("device", "seed", "serving"):
        if isinstance(known.get(name), (str, float)) and name not in values:
            values[name] = known[name]
    with pieces.card("What it was trained with"), pieces.element("dl", "lehr-facts lehr-facts-wide"):
        for name, value in values.items():
            if value not in ("", None):
                pieces.text(name, tag="dt")
                pieces.text(plain(value), tag="dd", classes="lehr-mono")
        if version.total_input_count:
            pieces.text("items", tag="dt")
            pieces.text(words.count(version.total_input_count), tag="dd", classes="lehr-mono")


def plain(value: Any) -> str:
    """A hyperparameter as text."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(plain(each) for each in value)
    return str(value)
