"""What was measured, as the protocol says it: the summary that every answer carries, and the bulky parts beside it.

Stores nothing. Concepts go by their ids here; their names are filled in when an answer is made, so that a renamed
concept is called by its new name in old evaluations too.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lehr.learn.bundle import AnyEvaluation
from lehr.learn.metrics.detection import DetectorEvaluation
from lehr.learn.metrics.embedding import EmbeddingEvaluation
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.statuses import status
from lehr.protocol.structs import Plain, to_value
from lehr.services import detection_metrics
from lehr.services.trained import summary_of

if TYPE_CHECKING:
    from lehr.learn.metrics.classification import ConceptMetrics, Curve, Evaluation

THRESHOLDS = "lehr_thresholds"
"""Where `extended_metrics.user_metrics` holds, per concept, the probability at which F1 was largest."""
FIGURES = "lehr"
"""Where it holds the figures that the protocol has no field for."""

LISTED_BYTES = 64 * 2**20
"""A test set longer than this is listed in part: published clients refuse answers over 128 MiB."""
_INPUT_BYTES = 1000
_CONCEPT_BYTES = 16
"""What an entry takes beside ids and names."""


def describe(metrics: resources_pb2.EvalMetrics, evaluation: AnyEvaluation, notes: Sequence[str] = ()) -> None:
    """Fills in place what every answer carries: status, summary, and our own figures beside the client's."""
    listed, total = num_listed(evaluation), len(evaluation.rows)
    partly = f"The test set lists {listed:,} of {total:,} items, evenly chosen; every figure is of all of them."
    words = [*notes, *([partly] if listed < total else [])]
    metrics.status.CopyFrom(status(status_code_pb2.MODEL_EVALUATED, " ".join(words), percent_completed=100))
    metrics.summary.CopyFrom(summary_of(evaluation))
    metrics.extended_metrics.user_metrics.fields[FIGURES].CopyFrom(to_value(_figures(evaluation)))


def _figures(evaluation: AnyEvaluation) -> dict[str, Plain]:
    if isinstance(evaluation, DetectorEvaluation | EmbeddingEvaluation):
        return dict(evaluation.summary())
    return {
        "num_items": evaluation.num_items,
        "top1_accuracy": evaluation.top1_accuracy,
        "mean_average_precision": evaluation.mean_average_precision,
    }


def pack(evaluation: AnyEvaluation) -> bytes:
    """The bulky parts as the blob that keeps them."""
    return zlib.compress(bulky(evaluation).SerializeToString(), 1)


def unpacked(data: bytes) -> resources_pb2.EvalMetrics:
    """The bulky parts back out of their blob."""
    return resources_pb2.EvalMetrics.FromString(zlib.decompress(data))


def bulky(evaluation: AnyEvaluation) -> resources_pb2.EvalMetrics:
    """Everything that is returned only when it is asked for."""
    if isinstance(evaluation, DetectorEvaluation):
        metrics = detection_metrics.bulky(evaluation)
    elif isinstance(evaluation, EmbeddingEvaluation):
        metrics = resources_pb2.EvalMetrics()
    else:
        metrics = _bulky_of_concepts(evaluation)
    metrics.extended_metrics.user_metrics.fields[THRESHOLDS].CopyFrom(to_value(evaluation.thresholds))
    return metrics


def _bulky_of_concepts(evaluation: Evaluation) -> resources_pb2.EvalMetrics:
    concepts = [entry.concept for entry in evaluation.concepts]
    return resources_pb2.EvalMetrics(
        confusion_matrix=_confusion(concepts, evaluation),
        cooccurrence_matrix=_cooccurrence(concepts, evaluation),
        label_counts=_label_counts(evaluation),
        binary_metrics=[_binary(entry) for entry in evaluation.concepts],
        test_set=_test_set(concepts, evaluation),
    )


def keep(details: resources_pb2.EvalMetrics, fields: resources_pb2.FieldsValue) -> None:
    """Clears in place the parts that are not asked for; the thresholds belong to `binary_metrics`."""
    wanted = {field.name for field, is_wanted in fields.ListFields() if is_wanted}
    if "binary_metrics" in wanted:
        wanted.add("extended_metrics")
    for field, _ in details.ListFields():
        if field.name not in wanted:
            details.ClearField(field.name)


def concepts_in(metrics: resources_pb2.EvalMetrics) -> Iterator[resources_pb2.Concept]:
    """Every concept at any depth, each time it occurs."""
    for cell in metrics.confusion_matrix.matrix:
        yield from (cell.predicted_concept, cell.actual_concept)
    for part in (
        metrics.label_counts.positive_label_counts,
        metrics.binary_metrics,
        metrics.metrics_by_area,
        metrics.metrics_by_class,
    ):
        yield from (entry.concept for entry in part)
    for item in metrics.test_set:
        yield from item.predicted_concepts
        yield from item.ground_truth_concepts
        for annotation in (item.predicted_annotation, item.ground_truth_annotation):
            for region in annotation.data.regions:
                yield from region.data.concepts


def name_concepts(metrics: resources_pb2.EvalMetrics, names: Mapping[str, str]) -> None:
    """Fills in names; a concept that is gone is called by its id."""
    for concept in concepts_in(metrics):
        concept.name = names.get(concept.id, concept.id)
    for count in metrics.label_counts.positive_label_counts:
        count.concept_name = count.concept.name


def num_listed(evaluation: AnyEvaluation) -> int:
    """How many entries the test set has: all, unless their message would be too large for published clients."""
    if isinstance(evaluation, DetectorEvaluation):
        return len(detection_metrics.listed_rows(evaluation))
    if isinstance(evaluation, EmbeddingEvaluation):
        return 0
    per_concept = (2 * len(entry.concept.encode()) + _CONCEPT_BYTES for entry in evaluation.concepts)
    return min(len(evaluation.rows), max(1, LISTED_BYTES // (_INPUT_BYTES + sum(per_concept))))


def _confusion(concepts: Sequence[str], evaluation: Evaluation) -> resources_pb2.ConfusionMatrix:
    """Cells that are not 0: the share of the actual concept's items that were taken for the predicted one.

    Every row of a concept with items sums to 1; what "taken for" means is told at `taken_for` in
    learn/metrics/classification.py.
    """
    matrix = resources_pb2.ConfusionMatrix(concept_ids=concepts)
    for actual, counts in zip(evaluation.concepts, evaluation.confusion, strict=True):
        for predicted, count in zip(concepts, counts, strict=True):
            if count:
                matrix.matrix.add(
                    predicted=predicted,
                    actual=actual.concept,
                    value=count / actual.num_positive,
                    predicted_concept=resources_pb2.Concept(id=predicted),
                    actual_concept=resources_pb2.Concept(id=actual.concept),
                )
    return matrix


def _cooccurrence(concepts: Sequence[str], evaluation: Evaluation) -> resources_pb2.CooccurrenceMatrix:
    """Cells that are not 0: how many items carry both concepts."""
    matrix = resources_pb2.CooccurrenceMatrix(concept_ids=concepts)
    for row, counts in zip(concepts, evaluation.cooccurrence, strict=True):
        for column, count in zip(concepts, counts, strict=True):
            if count:
                matrix.matrix.add(row=row, col=column, count=int(count))
    return matrix


def _label_counts(evaluation: Evaluation) -> resources_pb2.LabelDistribution:
    return resources_pb2.LabelDistribution(
        positive_label_counts=[
            resources_pb2.LabelCount(concept=resources_pb2.Concept(id=concept), count=count)
            for concept, count in evaluation.label_counts.items()
        ]
    )


def _binary(entry: ConceptMetrics) -> resources_pb2.BinaryMetrics:
    """One concept against the rest. Without positives it has no curves, and published clients leave it out of means."""
    metrics = resources_pb2.BinaryMetrics(
        num_pos=entry.num_positive,
        num_neg=entry.num_negative,
        num_tot=entry.num_positive + entry.num_negative,
        roc_auc=entry.roc_auc,
        f1=entry.f1,
        avg_precision=entry.average_precision,
        concept=resources_pb2.Concept(id=entry.concept),
    )
    if entry.num_positive:
        roc, pr = entry.roc_curve, entry.pr_curve
        metrics.roc_curve.CopyFrom(_roc(roc))
        metrics.precision_recall_curve.CopyFrom(
            resources_pb2.PrecisionRecallCurve(recall=pr.x, precision=pr.y, thresholds=pr.thresholds)
        )
    return metrics


def _roc(curve: Curve) -> resources_pb2.ROC:
    """The published client makes counts of these rates by cutting rate x items off to an integer, so that a rate
    which single precision rounds down would lose it one item: ours are rounded up."""
    return resources_pb2.ROC(
        fpr=[_rounded_up(x) for x in curve.x], tpr=[_rounded_up(y) for y in curve.y], thresholds=curve.thresholds
    )


def _rounded_up(value: float) -> float:
    """The smallest single-precision number that is not below."""
    single = np.float32(value)
    is_below = float(single) < value  # numpy would round `value` to compare
    return float(np.nextafter(single, np.float32(2)) if is_below else single)


def _test_set(concepts: Sequence[str], evaluation: Evaluation) -> list[resources_pb2.EvalTestSetEntry]:
    """Every entry lists all concepts, the most probable first."""
    rows = evaluation.rows
    kept = np.linspace(0, len(rows) - 1, num_listed(evaluation)).astype(int) if rows else ()
    entries = []
    for row in (rows[index] for index in kept):
        order = np.argsort(-np.asarray(row.probabilities), kind="stable")
        entries.append(
            resources_pb2.EvalTestSetEntry(
                input=resources_pb2.Input(id=row.item_id),
                predicted_concepts=[
                    resources_pb2.Concept(id=concepts[index], value=row.probabilities[index]) for index in order
                ],
                ground_truth_concepts=[resources_pb2.Concept(id=concept, value=1) for concept in row.truth],
            )
        )
    return entries
