"""What pages say of model versions: how they stand, what they reached, the curves of their trainings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.structs import from_struct
from lehr.services.log_entries import CURVES
from lehr.web import charts
from lehr.web.page import Visit

ACTIVE = (status_code_pb2.MODEL_QUEUED_FOR_TRAINING, status_code_pb2.MODEL_TRAINING)
_PER_PAGE = 500
_STATES = {
    status_code_pb2.MODEL_TRAINED: ("trained", "good"),
    status_code_pb2.MODEL_TRAINING: ("training", "busy"),
    status_code_pb2.MODEL_QUEUED_FOR_TRAINING: ("waits its turn", "busy"),
    status_code_pb2.MODEL_UNTRAINED: ("not trained", "plain"),
}
_FIGURES = {
    "classifier": (
        ("top1_accuracy", "Accuracy"),
        ("macro_avg_roc_auc", "ROC AUC"),
        ("macro_avg_f1_score", "F1"),
        ("macro_avg_precision", "Precision"),
        ("macro_avg_recall", "Recall"),
    ),
    "detector": (
        ("mean_avg_precision_iou_50", "mAP at IoU 0.5"),
        ("mean_avg_precision_iou_range", "mAP at IoU 0.5–0.95"),
        ("macro_avg_f1_score", "F1"),
        ("macro_avg_precision", "Precision"),
        ("macro_avg_recall", "Recall"),
    ),
    "embedder": (("top1_accuracy", "Recall at 1"), ("top5_accuracy", "Recall at 5")),
}
"""By how a model type's name ends: fields of a summary, the most telling first."""
NAMES = {
    "loss": "Loss",
    "accuracy": "Accuracy",
    "macro_f1": "F1",
    "recall_at_1": "Recall at 1",
    "recall_at_5": "Recall at 5",
    "map_at_r": "MAP at R",
    "map_50": "mAP at IoU 0.5",
    "map_range": "mAP at IoU 0.5–0.95",
}
"""Of figures on the held-out part."""


def state_words(version: resources_pb2.ModelVersion) -> tuple[str, str]:
    """How a version stands, and the kind of its badge."""
    return _STATES.get(version.status.code, ("failed", "bad"))


def is_active(version: resources_pb2.ModelVersion) -> bool:
    """Whether its training waits or runs."""
    return version.status.code in ACTIVE


def is_trained(version: resources_pb2.ModelVersion) -> bool:
    """Whether it has a result."""
    return version.status.code == status_code_pb2.MODEL_TRAINED


def figures(model_type_id: str, summary: resources_pb2.MetricsSummary) -> list[tuple[str, float]]:
    """A summary's figures with their names, the most telling first; none where nothing was measured."""
    if not summary.ListFields():
        return []
    kind = model_type_id.rpartition("-")[2]
    return [(words, getattr(summary, name)) for name, words in _FIGURES.get(kind, ())]


def figure_names(model_type_id: str) -> list[str]:
    """What the figures of this type are called."""
    return [words for _, words in _FIGURES.get(model_type_id.rpartition("-")[2], ())]


def version_name(version: resources_pb2.ModelVersion) -> str:
    """What a person calls it: its description, else the beginning of its id."""
    return version.description or version.id[:8]


def facts(version: resources_pb2.ModelVersion) -> dict[str, Any]:
    """What the training wrote down of itself: template, form, findings, …"""
    known = from_struct(version.metadata).get("lehr")
    return known if isinstance(known, dict) else {}


def params(version: resources_pb2.ModelVersion) -> dict[str, Any]:
    """The hyperparameters: of a trained version all of them, else those that were asked for."""
    asked = from_struct(version.train_info.params)
    form = facts(version).get("form")
    return {**asked, **form} if isinstance(form, dict) else asked


def template_of(version: resources_pb2.ModelVersion) -> str:
    """The template's name; empty where there is none to name."""
    return str(params(version).get("template") or facts(version).get("template") or "")


@dataclass
class Told:
    """A growing list behind ListLogEntries, fetched piece by piece."""

    visit: Visit
    model_id: str
    version_id: str
    log_type: str
    lines: list[str] = field(default_factory=list)

    async def fetch(self) -> bool:
        """Gets what is new; whether anything is. A list that became shorter is read from its beginning."""
        before = len(self.lines)
        changed = False
        page = before // _PER_PAGE + 1
        while True:
            found = await self._page(page)
            start = (page - 1) * _PER_PAGE
            if start + len(found) < len(self.lines):
                self.lines, page, changed = [], 1, True
                continue
            changed = changed or self.lines[start:] != found
            self.lines[start:] = found
            if len(found) < _PER_PAGE:
                return changed
            page += 1

    async def _page(self, page: int) -> list[str]:
        answer = await self.visit.ask(
            "ListLogEntries",
            model_id=self.model_id,
            model_version_id=self.version_id,
            log_type=self.log_type,
            page=page,
            per_page=_PER_PAGE,
        )
        return [entry.message for entry in answer.log_entries]


class History:
    """The curves of one training."""

    def __init__(self, visit: Visit, model_id: str, version_id: str) -> None:
        self._told = Told(visit, model_id, version_id, CURVES)
        self.steps: list[dict[str, Any]] = []
        self.epochs: list[dict[str, Any]] = []

    async def fetch(self) -> bool:
        """Gets what is new; whether anything is."""
        changed = await self._told.fetch()
        if changed:
            points = [json.loads(line) for line in self._told.lines]
            self.steps = [point for point in points if point["kind"] == "step"]
            self.epochs = [point for point in points if point["kind"] == "epoch"]
        return changed

    def of_steps(self, name: str) -> list[tuple[float, float | None]]:
        """A figure of the steps, over epochs."""
        return [(point["epoch"], point.get(name)) for point in self.steps if name in point]

    def metrics(self) -> list[str]:
        """Names of what was measured on the held-out part; loss first, where it is one of them."""
        return sorted(
            {name for point in self.epochs for name in point["metrics"]}, key=lambda name: (name != "loss", name)
        )

    def of_metric(self, name: str) -> list[tuple[float, float | None]]:
        """A held-out figure, over epochs."""
        return [(point["epoch"], point["metrics"][name]) for point in self.epochs if name in point["metrics"]]

    def losses(self) -> list[charts.Series]:
        """The training loss, step by step and epoch by epoch, and the held-out one where it was measured."""
        epochs = [(point["epoch"], point["train_loss"]) for point in self.epochs]
        steps = charts.Series(name="each step", points=self.of_steps("loss"), is_faint=True, colour="var(--faint)")
        series = [steps, charts.Series(name="training, each epoch", points=epochs, colour=charts.COLOURS[0])]
        if "loss" in self.metrics():
            series.append(charts.Series(name="held out", points=self.of_metric("loss"), colour=charts.COLOURS[1]))
        return series

    def measured(self) -> list[charts.Series]:
        """Every held-out figure but the loss."""
        return list(self._measured())

    def _measured(self) -> Iterator[charts.Series]:
        for number, name in enumerate(name for name in self.metrics() if name != "loss"):
            words = NAMES.get(name, name.replace("_", " "))
            yield charts.Series(name=words, points=self.of_metric(name), colour=charts.COLOURS[(number + 1) % 8])


async def trained_versions(visit: Visit, models: Sequence[resources_pb2.Model]) -> dict[str, str]:
    """`model/version` → what to call it, of the trained versions of these models."""
    found: dict[str, str] = {}
    for model in models:
        answer = await visit.ask("ListModelVersions", model_id=model.id, page=1, per_page=100, trained_only=True)
        for version in answer.model_versions:
            found[f"{model.id}/{version.id}"] = f"{model.id} · {version_name(version)}"
    return found
