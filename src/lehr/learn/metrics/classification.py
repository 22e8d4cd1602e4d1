"""Figures of a classifier on held-out items, numpy only. Legend: N items, K concepts, T thresholds.

A figure that the items cannot give (the ROC AUC of a concept with no negative) is None, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

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
    """In the order of the concepts."""


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
    """[K, K + 1]: items of the row's concept by their most probable concept; last column: nothing reached 0.5."""
    cooccurrence: tuple[tuple[float, ...], ...]
    """[K, K]: items that carry both concepts."""
    rows: tuple[TestRow, ...]

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
        return asdict(self)

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
    metrics = tuple(
        _concept_metrics(concept, probabilities_NK[:, k], is_true_NK[:, k]) for k, concept in enumerate(concepts)
    )
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
        confusion=_confusion(probabilities_NK, is_true_NK),
        cooccurrence=_as_rows(is_true_NK.T.astype(float) @ is_true_NK.astype(float)),
        rows=_rows(concepts, item_ids, probabilities_NK, is_true_NK),
    )


def roc_auc(scores_N: np.ndarray, is_true_N: np.ndarray) -> float | None:
    """Probability that a positive scores above a negative, ties half (Mann-Whitney U). None without both kinds."""
    num_positive = int(is_true_N.sum())
    num_negative = len(is_true_N) - num_positive
    if not num_positive or not num_negative:
        return None
    _, inverse_N, counts = np.unique(scores_N, return_inverse=True, return_counts=True)
    ranks_N = (np.cumsum(counts) - (counts - 1) / 2)[inverse_N]
    rank_sum = ranks_N[is_true_N].sum()
    return float((rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))


def average_precision(scores_N: np.ndarray, is_true_N: np.ndarray) -> float | None:
    """Sum over thresholds of (recall gained) x precision, without interpolation. None without positives."""
    if not is_true_N.any():
        return None
    order_N = np.argsort(-scores_N, kind="stable")
    last_of_ties_N = np.append(np.diff(scores_N[order_N]) != 0, True)
    hits = np.cumsum(is_true_N[order_N])[last_of_ties_N]
    shown = np.flatnonzero(last_of_ties_N) + 1
    gained = np.diff(hits, prepend=0) / is_true_N.sum()
    return float((gained * hits / shown).sum())


def best_threshold(scores_N: np.ndarray, is_true_N: np.ndarray) -> float:
    """Where "at least the threshold" has the largest F1, midway to the next score below; 0.5 without positives."""
    if not is_true_N.any():
        return 0.5
    order_N = np.argsort(-scores_N, kind="stable")
    sorted_N = scores_N[order_N]
    hits_N = np.cumsum(is_true_N[order_N])
    f1_N = 2 * hits_N / (np.arange(1, len(sorted_N) + 1) + is_true_N.sum())
    f1_N[~np.append(np.diff(sorted_N) != 0, True)] = -1.0  # equal scores cannot be told apart
    best = int(np.argmax(f1_N))
    below = sorted_N[best + 1] if best + 1 < len(sorted_N) else 0.0
    return float((sorted_N[best] + below) / 2)


def _concept_metrics(concept: str, scores_N: np.ndarray, is_true_N: np.ndarray) -> ConceptMetrics:
    precision, recall, f1 = _precision_recall_f1(scores_N[:, None] >= 0.5, is_true_N[:, None])
    num_positive = int(is_true_N.sum())
    return ConceptMetrics(
        concept=concept,
        num_positive=num_positive,
        num_negative=len(is_true_N) - num_positive,
        precision=float(precision[0]),
        recall=float(recall[0]),
        f1=float(f1[0]),
        roc_auc=roc_auc(scores_N, is_true_N),
        average_precision=average_precision(scores_N, is_true_N),
        best_threshold=best_threshold(scores_N, is_true_N),
        roc_curve=_roc_curve(scores_N, is_true_N),
        pr_curve=_pr_curve(scores_N, is_true_N),
    )


def _roc_curve(scores_N: np.ndarray, is_true_N: np.ndarray) -> Curve:
    is_found_NT = scores_N[:, None] >= np.array(CURVE_THRESHOLDS)
    true_T = is_found_NT[is_true_N].sum(axis=0) / max(int(is_true_N.sum()), 1)
    false_T = is_found_NT[~is_true_N].sum(axis=0) / max(int((~is_true_N).sum()), 1)
    return Curve(x=_floats(false_T), y=_floats(true_T))


def _pr_curve(scores_N: np.ndarray, is_true_N: np.ndarray) -> Curve:
    is_found_NT = scores_N[:, None] >= np.array(CURVE_THRESHOLDS)
    hits_T = is_found_NT[is_true_N].sum(axis=0)
    found_T = is_found_NT.sum(axis=0)
    precision_T = np.where(found_T > 0, hits_T / np.maximum(found_T, 1), 1.0)
    return Curve(x=_floats(hits_T / max(int(is_true_N.sum()), 1)), y=_floats(precision_T))


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


def _confusion(probabilities_NK: np.ndarray, is_true_NK: np.ndarray) -> tuple[tuple[float, ...], ...]:
    num_concepts = is_true_NK.shape[1]
    predicted_N = np.where(
        probabilities_NK.max(axis=1, initial=0.0) >= 0.5, probabilities_NK.argmax(axis=1), num_concepts
    )
    counts = np.zeros((num_concepts, num_concepts + 1))
    for item, concept in zip(*np.nonzero(is_true_NK), strict=True):
        counts[concept, predicted_N[item]] += 1
    return _as_rows(counts)


def _rows(
    concepts: Sequence[str], item_ids: Sequence[str], probabilities_NK: np.ndarray, is_true_NK: np.ndarray
) -> tuple[TestRow, ...]:
    return tuple(
        TestRow(
            item_id=item_id,
            truth=tuple(concept for concept, is_true in zip(concepts, is_true_K, strict=True) if is_true),
            probabilities=_floats(probabilities_K),
        )
        for item_id, probabilities_K, is_true_K in zip(item_ids, probabilities_NK, is_true_NK, strict=True)
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
    return tuple(float(value) for value in values)


def _as_rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(_floats(row) for row in matrix)
