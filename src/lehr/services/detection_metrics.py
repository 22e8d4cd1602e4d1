"""What was measured of a detector, as the protocol says it: by class, overlap and area, and every item's boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lehr.learn.metrics.detection import DetectionRow, DetectorEvaluation, NamedBox
from lehr.learn.metrics.mean_average_precision import BoxMetrics
from lehr.protocol import resources_pb2

LISTED_BOXES = 200_000
"""Boxes that the test set lists: published clients refuse answers over 128 MiB, and a box takes some 150 bytes."""


def summary(evaluation: DetectorEvaluation) -> resources_pb2.MetricsSummary:
    """Mean average precisions, and precision, recall and F1 at score and overlap 0.5; what is unknown stays unset."""
    figures = evaluation.summary()
    return resources_pb2.MetricsSummary(
        mean_avg_precision_iou_50=figures["map_50"],
        mean_avg_precision_iou_range=figures["map_range"],
        macro_avg_f1_score=figures["macro_f1"],
        macro_avg_precision=figures["macro_precision"],
        macro_avg_recall=figures["macro_recall"],
    )


def bulky(evaluation: DetectorEvaluation) -> resources_pb2.EvalMetrics:
    """Everything that is returned only when it is asked for.

    `metrics_by_class` has every class at every overlap over all areas, `metrics_by_area` every class at overlap 0.5 in
    every area, `binary_metrics` every class at overlap 0.5.
    """
    entries, names = evaluation.figures.entries, evaluation.concepts
    return resources_pb2.EvalMetrics(
        label_counts=_label_counts(evaluation),
        binary_metrics=[_binary(entry, names) for entry in evaluation.at_half],
        metrics_by_class=[_binary(entry, names) for entry in entries if entry.area.name == "all"],
        metrics_by_area=[_binary(entry, names) for entry in entries if entry.overlap == 0.5],
        test_set=[_test_entry(row) for row in listed_rows(evaluation)],
    )


def listed_rows(evaluation: DetectorEvaluation) -> Sequence[DetectionRow]:
    """The held-out items that the test set lists: all, or as many as published clients can read, evenly chosen."""
    rows = evaluation.rows
    boxes = sum(len(row.truth) + len(row.found) for row in rows)
    if boxes <= LISTED_BOXES:
        return rows
    kept = np.linspace(0, len(rows) - 1, max(1, len(rows) * LISTED_BOXES // boxes)).astype(int)
    return [rows[index] for index in kept]


def regions(boxes: Sequence[NamedBox]) -> Iterator[resources_pb2.Region]:
    """Boxes as regions with one concept each."""
    for box in boxes:
        region = resources_pb2.Region(value=box.value)
        region.region_info.bounding_box.CopyFrom(
            resources_pb2.BoundingBox(top_row=box.top, left_col=box.left, bottom_row=box.bottom, right_col=box.right)
        )
        region.data.concepts.add(id=box.concept, value=box.value)
        yield region


def _label_counts(evaluation: DetectorEvaluation) -> resources_pb2.LabelDistribution:
    counts = [
        resources_pb2.LabelCount(concept=resources_pb2.Concept(id=concept), count=count)
        for concept, count in evaluation.label_counts.items()
    ]
    return resources_pb2.LabelDistribution(positive_label_counts=counts)


def _binary(entry: BoxMetrics, concepts: Sequence[str]) -> resources_pb2.BinaryMetrics:
    """A figure of one class; there are no negatives among boxes."""
    metrics = resources_pb2.BinaryMetrics(
        num_pos=entry.num_true,
        num_tot=entry.num_true,
        f1=entry.f1,
        avg_precision=entry.average_precision,
        concept=resources_pb2.Concept(id=concepts[entry.class_index]),
        area_name=entry.area.name,
        area_min=entry.area.least,
        area_max=entry.area.most,
        iou=entry.overlap,
    )
    if entry.num_true:
        curve = entry.curve
        metrics.precision_recall_curve.CopyFrom(
            resources_pb2.PrecisionRecallCurve(recall=curve.x, precision=curve.y, thresholds=curve.thresholds)
        )
    return metrics


def _test_entry(row: DetectionRow) -> resources_pb2.EvalTestSetEntry:
    entry = resources_pb2.EvalTestSetEntry(input=resources_pb2.Input(id=row.item_id))
    entry.predicted_annotation.data.regions.extend(regions(row.found))
    entry.ground_truth_annotation.data.regions.extend(regions(row.truth))
    entry.predicted_concepts.extend(_best(row.found))
    entry.ground_truth_concepts.extend(_best(row.truth))
    return entry


def _best(boxes: Sequence[NamedBox]) -> list[resources_pb2.Concept]:
    """Each concept once, with its best box's value, highest first."""
    values: dict[str, float] = {}
    for box in boxes:
        values[box.concept] = max(values.get(box.concept, 0.0), box.value)
    return [resources_pb2.Concept(id=name, value=value) for name, value in sorted(values.items(), key=lambda p: -p[1])]
