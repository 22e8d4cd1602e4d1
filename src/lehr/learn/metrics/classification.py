"""Figures of a classifier on held-out items, numpy only. Legend: N items, K concepts, T thresholds.

A figure that the items cannot give (the ROC AUC of a concept with no negative) is None, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from lehr.learn.metrics.ranking import Ranking, ranking

CURVE_THRESHOLDS = tuple(round(step * 0.05, 2) for step in range(21))
"""0.00, 0.05 … 1.00: published clients look for 0.5 among them."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One value pair per threshold of `thresholds`."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    thresholds: tuple[float, ...] = CURVE_THRESHOLDS


@dataclass(frozen=True, kw_only=True)
class ConceptMetrics:
    """How well one concept is told from the rest; precision, recall and F1 at probability 0.5."""

    concept: str
    num_positive: int
    num_negative: int
    precision: float
    recall: float
    f1: float
    roc_auc: float | None
    average_precision: float | None
    best_threshold: float
    """Where F1 is largest on these items."""
    roc_curve: Curve
    """x: false positive rate, y: true positive rate."""
    pr_curve: Curve
    """x: recall, y: precision."""


@dataclass(frozen=True, kw_only=True)
class TestRow:
    """One held-out item."""

    __test__ = False  # for pytest: this is no test class

    item_id: str
    truth: tuple[str, ...]
    probabilities: tuple[float, ...]
    """In the order of the concepts, to six decimals."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything measured on the held-out items."""

    num_items: int
    top1_accuracy: float | None
    """Share of the items with a positive concept whose most probable concept is one of theirs."""
    macro_roc_auc: float | None
    macro_std_roc_auc: float | None
    macro_f1: float | None
    macro_std_f1: float | None
    macro_precision: float | None
    macro_recall: float | None
    mean_average_precision: float | None
    concepts: tuple[ConceptMetrics, ...]
    confusion: tuple[tuple[float, ...], ...]
    """[K, K]: items of the row's concept by what they were taken for, see `taken_for`; a row sums to its positives."""
    cooccurrence: tuple[tuple[float, ...], ...]
    """[K, K]: items that carry both concepts."""
    rows: tuple[TestRow, ...]

    @property
    def item_ids(self) -> tuple[str, ...]:
        """Of the held-out items, in their order."""
        return tuple(row.item_id for row in self.rows)

    @property
    def thresholds(self) -> dict[str, float]:
        """Per concept the probability at which F1 is largest."""
        return {metrics.concept: metrics.best_threshold for metrics in self.concepts}

    @property
    def label_counts(self) -> dict[str, int]:
        """Held-out positives per concept."""
        return {metrics.concept: metrics.num_positive for metrics in self.concepts}

    def summary(self) -> dict[str, float | int | None]:
        """The figures that fit on one line."""
        names = (
            "num_items",
            "top1_accuracy",
            "macro_roc_auc",
            "macro_std_roc_auc",
            "macro_f1",
            "macro_std_f1",
            "macro_precision",
            "macro_recall",
            "mean_average_precision",
        )
        return {name: getattr(self, name) for name in names}

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {
            "concepts": [asdict(entry) for entry in self.concepts],
            "rows": [vars(row) for row in self.rows],  # copies nothing: there may be millions of probabilities
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Evaluation:
        """The inverse of `to_json`."""
        rest = {name: value for name, value in values.items() if name not in ("concepts", "rows")}
        for name in ("confusion", "cooccurrence"):
            rest[name] = tuple(tuple(row) for row in rest[name])
        rows = tuple(
            TestRow(item_id=row["item_id"], truth=tuple(row["truth"]), probabilities=tuple(row["probabilities"]))
            for row in values["rows"]
        )
        return cls(concepts=tuple(_concept_from_json(entry) for entry in values["concepts"]), rows=rows, **rest)


def quick_metrics(probabilities_NK: np.ndarray, targets_NK: np.ndarray) -> dict[str, float]:
    """The few figures shown after every epoch: accuracy (top-1) and macro F1 at 0.5, where they exist."""
    figures: dict[str, float] = {}
    accuracy = _top1(probabilities_NK, targets_NK)
    if accuracy is not None:
        figures["accuracy"] = accuracy
    present_K = targets_NK.any(axis=0)
    if present_K.any():
        f1_K = _precision_recall_f1(probabilities_NK >= 0.5, targets_NK > 0)[2]
        figures["macro_f1"] = float(f1_K[present_K].mean())
    return figures


def evaluation(
    concepts: Sequence[str], item_ids: Sequence[str], probabilities_NK: np.ndarray, targets_NK: np.ndarray
) -> Evaluation:
    """All figures from probabilities (float [N, K]) and truths (0 or 1, [N, K])."""
    assert probabilities_NK.shape == targets_NK.shape == (len(item_ids), len(concepts)), probabilities_NK.shape
    is_true_NK = targets_NK > 0
    by_concept = zip(concepts, np.ascontiguousarray(probabilities_NK.T), is_true_NK.T, strict=True)
    metrics = tuple(_concept_metrics(concept, ranking(scores, is_true)) for concept, scores, is_true in by_concept)
    seen = [entry for entry in metrics if entry.num_positive]
    return Evaluation(
        num_items=len(item_ids),
        top1_accuracy=_top1(probabilities_NK, targets_NK),
        macro_roc_auc=_mean([entry.roc_auc for entry in seen]),
        macro_std_roc_auc=_std([entry.roc_auc for entry in seen]),
        macro_f1=_mean([entry.f1 for entry in seen]),
        macro_std_f1=_std([entry.f1 for entry in seen]),
        macro_precision=_mean([entry.precision for entry in seen]),
        macro_recall=_mean([entry.recall for entry in seen]),
        mean_average_precision=_mean([entry.average_precision for entry in seen]),
        concepts=metrics,
        confusion=_as_rows(taken_for(probabilities_NK, is_true_NK)),
        cooccurrence=_as_rows(is_true_NK.T.astype(float) @ is_true_NK.astype(float)),
        rows=_rows(concepts, item_ids, probabilities_NK, is_true_NK),
    )


def taken_for(probabilities_NK: np.ndarray, is_true_NK: np.ndarray) -> np.ndarray:
    """int64 [K, K]: of every true concept of every item, the concept that the item was taken for.

    An item of n true concepts names the n most probable ones. Those of its own that are among them were recognised; the
    others were taken for the most probable concept that is not true of it. So with one concept per item, which is the
    usual case, an item was taken for its most probable concept, however improbable all of them are: the diagonal of
    the matrix is top-1 accuracy, and independent probabilities (sigmoid) of rare concepts, none of which need reach
    0.5, show what they are confused with.
    """
    num_concepts = is_true_NK.shape[1]
    items_M, actual_M = np.nonzero(is_true_NK)
    order_NK = np.argsort(-probabilities_NK, axis=1, kind="stable")
    rank_NK = np.empty_like(order_NK)
    np.put_along_axis(rank_NK, order_NK, np.arange(num_concepts)[None], axis=1)
    is_named_M = rank_NK[items_M, actual_M] < is_true_NK.sum(axis=1)[items_M]
    wrong_N = np.where(is_true_NK, -np.inf, probabilities_NK).argmax(axis=1)
    cells_M = actual_M * num_concepts + np.where(is_named_M, actual_M, wrong_N[items_M])
    return np.bincount(cells_M, minlength=num_concepts**2).reshape(num_concepts, num_concepts)


_THRESHOLDS_T = np.array(CURVE_THRESHOLDS)


def _concept_metrics(concept: str, ranked: Ranking) -> ConceptMetrics:
    num_positive, num_negative = ranked.num_positive, ranked.num_negative
    found_T, hits_T = ranked.at_least(_THRESHOLDS_T)
    found, hits = (int(counts[CURVE_THRESHOLDS.index(0.5)]) for counts in (found_T, hits_T))
    recall_T = _floats(hits_T / max(num_positive, 1))
    precision_T = np.where(found_T > 0, hits_T / np.maximum(found_T, 1), 1.0)
    return ConceptMetrics(
        concept=concept,
        num_positive=num_positive,
        num_negative=num_negative,
        precision=hits / max(found, 1),
        recall=hits / max(num_positive, 1),
        f1=2 * hits / max(found + num_positive, 1),
        roc_auc=ranked.roc_auc(),
        average_precision=ranked.average_precision(),
        best_threshold=ranked.best_threshold(),
        roc_curve=Curve(x=_floats((found_T - hits_T) / max(num_negative, 1)), y=recall_T),
        pr_curve=Curve(x=recall_T, y=_floats(precision_T)),
    )


def _precision_recall_f1(is_found_NK: np.ndarray, is_true_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float [K] each; 0 where nothing was found or nothing is true."""
    hits_K = (is_found_NK & is_true_NK).sum(axis=0)
    found_K, true_K = is_found_NK.sum(axis=0), is_true_NK.sum(axis=0)
    precision_K = hits_K / np.maximum(found_K, 1)
    recall_K = hits_K / np.maximum(true_K, 1)
    f1_K = 2 * hits_K / np.maximum(found_K + true_K, 1)
    return precision_K, recall_K, f1_K


def _top1(probabilities_NK: np.ndarray, targets_NK: np.ndarray) -> float | None:
    labelled_N = targets_NK.any(axis=1)
    if not labelled_N.any():
        return None
    first_N = probabilities_NK[labelled_N].argmax(axis=1)
    return float((targets_NK[labelled_N][np.arange(len(first_N)), first_N] > 0).mean())


def _rows(
    concepts: Sequence[str], item_ids: Sequence[str], probabilities_NK: np.ndarray, is_true_NK: np.ndarray
) -> tuple[TestRow, ...]:
    shown = np.round(probabilities_NK.astype(np.float64), 6).tolist()
    truths: list[list[str]] = [[] for _ in item_ids]
    for item, concept in zip(*np.nonzero(is_true_NK), strict=True):
        truths[item].append(concepts[concept])
    return tuple(
        TestRow(item_id=item_id, truth=tuple(truth), probabilities=tuple(probabilities))
        for item_id, truth, probabilities in zip(item_ids, truths, shown, strict=True)
    )


def _concept_from_json(entry: Mapping[str, Any]) -> ConceptMetrics:
    curves = {
        name: Curve(**{axis: tuple(values) for axis, values in entry[name].items()})
        for name in ("roc_curve", "pr_curve")
    }
    return ConceptMetrics(**{**entry, **curves})


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _std(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.std(known)) if known else None


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(values.astype(np.float64).tolist())


def _as_rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(_floats(row) for row in matrix)
