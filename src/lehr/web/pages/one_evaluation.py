"""An evaluation: what a version reached on labelled data, and the images behind every figure."""

from __future__ import annotations

from lehr.protocol import resources_pb2, status_code_pb2
from lehr.web import evaluation_boxes, evaluation_concepts, evaluation_map, learned, pieces
from lehr.web.evaluation import Opened
from lehr.web.page import Page, Visit
from lehr.web.version_parts import progress

_RUNNING = (status_code_pb2.MODEL_QUEUED_FOR_EVALUATION, status_code_pb2.MODEL_EVALUATING)
_PARTS = {
    "classifier": ("summary", "concepts", "confusion", "curves", "mistakes"),
    "detector": ("summary", "concepts", "curves", "mistakes"),
    "embedder": ("summary", "map"),
}
_TITLES = {
    "summary": "Summary",
    "concepts": "Concepts",
    "confusion": "Confusion",
    "curves": "Curves",
    "mistakes": "Mistakes",
    "map": "Map and neighbours",
}
_FIELDS = {
    "concepts": ("binary_metrics", "label_counts"),
    "confusion": ("confusion_matrix", "label_counts", "test_set"),
    "curves": ("binary_metrics",),
    "mistakes": ("test_set",),
}
"""What each part needs beside the summary."""


async def build(visit: Visit) -> None:
    """`part` in the address says which part is open."""
    metrics = (await visit.ask("GetEvaluation", evaluation_id=visit.part("evaluation_id"))).eval_metrics
    _title(visit, metrics)
    if metrics.status.code != status_code_pb2.MODEL_EVALUATED:
        _not_done(visit, metrics)
        return
    kind = metrics.model.model_type_id.rpartition("-")[2]
    parts = _PARTS.get(kind, ("summary",))
    part = visit.query("part") if visit.query("part") in parts else "summary"
    _tabs(visit, parts, part)
    wanted = resources_pb2.FieldsValue(**{name: True for name in _FIELDS.get(part, ())})
    opened = (await visit.ask("GetEvaluation", evaluation_id=metrics.id, fields=wanted)).eval_metrics
    await _part(Opened(visit=visit, metrics=opened, kind=kind), part)


def _title(visit: Visit, metrics: resources_pb2.EvalMetrics) -> None:
    version_id = metrics.model.model_version.id
    dataset = metrics.ground_truth_dataset.id
    about = f"Version {version_id[:8]} on {f'dataset {dataset}' if dataset else 'the inputs of the app'}"
    with pieces.title(f"Evaluation of {metrics.model.id}", about):
        path = visit.under_app("models", metrics.model.id, "versions", version_id)
        pieces.link_button("The version", path, icon="school")


def _not_done(visit: Visit, metrics: resources_pb2.EvalMetrics) -> None:
    if metrics.status.code not in _RUNNING:
        pieces.empty(
            "error_outline", "This evaluation has no result", metrics.status.details or metrics.status.description
        )
        return
    state = {"metrics": metrics}

    def draw(_: pieces.Redrawn) -> None:
        status = state["metrics"].status
        with pieces.card("Being computed"):
            progress(status.percent_completed)
            pieces.text(status.details or "It waits for its turn.", classes="lehr-quiet").props("role=status")

    shown = pieces.Redrawn(draw)

    async def look() -> None:
        state["metrics"] = (await visit.ask("GetEvaluation", evaluation_id=metrics.id)).eval_metrics
        if state["metrics"].status.code in _RUNNING:
            shown.draw()
        else:
            visit.reload()

    visit.every(1.0, look)


def _tabs(visit: Visit, parts: tuple[str, ...], lit: str) -> None:
    path = visit.under_app("evaluations", visit.part("evaluation_id"))
    with pieces.element("nav", "lehr-parts").props('aria-label="Parts of the evaluation"'):
        for part in parts:
            with pieces.link(
                f"{path}?part={part}", classes=f"lehr-part {'lehr-part-lit' if part == lit else ''}"
            ) as anchor:
                pieces.text(_TITLES[part], tag="span")
            if part == lit:
                anchor.props["aria-current"] = "page"


async def _part(opened: Opened, part: str) -> None:
    if part == "summary":
        _summary(opened)
    elif part == "concepts":
        evaluation_concepts.table(opened)
    elif part == "confusion":
        await evaluation_concepts.confusion(opened)
    elif part == "curves":
        evaluation_concepts.curves(opened)
    elif part == "map":
        await evaluation_map.show(opened)
    elif opened.kind == "detector":
        await evaluation_boxes.mistakes(opened)
    else:
        await evaluation_concepts.mistakes(opened)


def _summary(opened: Opened) -> None:
    metrics = opened.metrics
    with pieces.element("div", "lehr-figures"):
        for name, value in learned.figures(metrics.model.model_type_id, metrics.summary):
            pieces.figure(f"{value:.3f}", name)
    with pieces.card("What this says"):
        if metrics.status.details:
            pieces.text(metrics.status.details, classes="lehr-wrap")
        with pieces.element("dl", "lehr-facts"):
            for name, words_of in _OWN.items():
                figure = opened.own_figures().get(name)
                if figure is not None:
                    pieces.text(words_of, tag="dt")
                    pieces.text(f"{figure:,.0f}" if name.startswith("num") else f"{figure:.4f}", tag="dd")


_OWN = {
    "num_items": "Items",
    "num_boxes": "Boxes",
    "num_dimensions": "Dimensions",
    "num_queries": "Images that have a like",
    "num_concepts": "Concepts",
    "mean_average_precision": "Mean average precision",
    "recall_at_10": "Recall at 10",
    "map_at_r": "MAP at R",
    "unseen_num_queries": "Images of concepts that it never saw",
    "unseen_num_concepts": "Concepts that it never saw",
    "unseen_recall_at_1": "Recall at 1, of concepts that it never saw",
    "unseen_map_at_r": "MAP at R, of concepts that it never saw",
}
"""Of our own figures those that the summary has not."""


PAGE = Page(
    path="/users/{user_id}/apps/{app_id}/evaluations/{evaluation_id}",
    title="Evaluation",
    build=build,
    under="Models",
    wide=False,
)
