"""Mean average precision of detections as COCO counts it, by class, overlap and area; numpy only.

Shapes: G true boxes, M found boxes, T overlaps (IoU thresholds), R area ranges. Boxes are pixels x1 y1 x2 y2 of the
original image, so that areas mean what they mean in COCO.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lehr.learn.metrics.classification import CURVE_THRESHOLDS, Curve
from lehr.learn.metrics.ranking import ranking

OVERLAPS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""0.50, 0.55 … 0.95."""

LIMIT = 100
"""Best boxes per image and class that are looked at."""


@dataclass(frozen=True, kw_only=True)
class Area:
    """A range of box areas in square pixels of the original image, both ends included."""

    name: str
    least: float
    most: float


AREAS = (
    Area(name="all", least=0, most=1e10),
    Area(name="small", least=0, most=32**2),
    Area(name="medium", least=32**2, most=96**2),
    Area(name="large", least=96**2, most=1e10),
)


@dataclass(frozen=True, kw_only=True)
class ImageBoxes:
    """Boxes of one image: float [n, 4], int classes [n], and scores [n] where they were found rather than drawn."""

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class BoxMetrics:
    """How well the boxes of one class, within an area, are found at an overlap."""

    class_index: int
    overlap: float
    area: Area
    num_true: int
    average_precision: float | None
    """Precision averaged over 101 recalls; None without a true box."""
    precision: float
    """Of boxes with scores of at least 0.5; recall and F1 likewise."""
    recall: float
    f1: float
    best_threshold: float
    """Where F1 is largest, midway to the next score below, as for a classifier; 0.5 where no box was found."""
    curve: Curve
    """x: recall, y: precision, of boxes at or above each score of CURVE_THRESHOLDS."""


@dataclass(frozen=True, kw_only=True)
class DetectionEvaluation:
    """Everything measured on the held-out images' boxes."""

    num_images: int
    entries: tuple[BoxMetrics, ...]
    """One per class, overlap and area, in that order."""

    @property
    def map_50(self) -> float | None:
        """Mean over classes at overlap 0.5; None without a true box."""
        return self.mean_ap(overlap=0.5)

    @property
    def map_range(self) -> float | None:
        """Mean over classes and overlaps 0.50 to 0.95: COCO's AP."""
        return self.mean_ap()

    def mean_ap(
        self, *, overlap: float | None = None, area: str = "all", class_index: int | None = None
    ) -> float | None:
        """Mean of the average precisions of one overlap or all, in one area, of one class or all."""
        values = [
            entry.average_precision
            for entry in self.entries
            if entry.average_precision is not None
            and entry.area.name == area
            and overlap in (None, entry.overlap)
            and class_index in (None, entry.class_index)
        ]
        return float(np.mean(values)) if values else None


def detection_evaluation(
    found: Sequence[ImageBoxes], truth: Sequence[ImageBoxes], num_classes: int
) -> DetectionEvaluation:
    """Compare what was found with what is there, image by image."""
    assert len(found) == len(truth), f"{len(found)} images with found boxes, {len(truth)} with true ones"
    entries = [entry for index in range(num_classes) for entry in _class_entries(index, found, truth)]
    return DetectionEvaluation(num_images=len(truth), entries=tuple(entries))


@dataclass(frozen=True)
class _Judged:
    """Found boxes of a class: scores [M], which are right and which do not count, bool [R, T, M]; true boxes [R]."""

    scores: np.ndarray
    is_right: np.ndarray
    is_ignored: np.ndarray
    num_true: np.ndarray


def _class_entries(index: int, found: Sequence[ImageBoxes], truth: Sequence[ImageBoxes]) -> Iterator[BoxMetrics]:
    images = [
        _judge(_of_class(mine, index), _of_class(true, index))
        for mine, true in zip(found, truth, strict=True)
        if (mine.classes == index).any() or (true.classes == index).any()
    ]
    judged = _joined(images)
    for t, overlap in enumerate(OVERLAPS):
        for r, area in enumerate(AREAS):
            yield _entry(index, overlap, area, _counting(judged, r, t), int(judged.num_true[r]))


def _of_class(image: ImageBoxes, index: int) -> ImageBoxes:
    """The boxes of one class; found ones best first and no more than LIMIT."""
    mine = np.flatnonzero(image.classes == index)
    if image.scores is not None:
        mine = mine[np.argsort(-image.scores[mine], kind="stable")][:LIMIT]
    scores = None if image.scores is None else image.scores[mine]
    return ImageBoxes(boxes=image.boxes[mine].reshape(-1, 4), classes=image.classes[mine], scores=scores)


def _judge(found: ImageBoxes, true: ImageBoxes) -> _Judged:
    """Give each found box, best first, the free true box that it overlaps most; outside of the area none counts."""
    assert found.scores is not None, "found boxes have scores"
    iou_MG = box_iou(found.boxes, true.boxes)
    outside_RG, outside_RM = _outside(true.boxes), _outside(found.boxes)
    shape = (len(AREAS), len(OVERLAPS))
    taken_RTG = np.zeros((*shape, len(true.boxes)), bool)
    is_right, is_ignored = (np.zeros((*shape, len(found.boxes)), bool) for _ in range(2))
    for m, iou_G in enumerate(iou_MG):
        chosen_RT, is_matched_RT = _choose(iou_G, taken_RTG, outside_RG)
        at = (*np.nonzero(is_matched_RT), chosen_RT[is_matched_RT])
        taken_RTG[at] = True
        matched_outside_RT = np.take_along_axis(outside_RG, chosen_RT, 1) if iou_G.size else np.zeros(shape, bool)
        is_ignored[..., m] = np.where(is_matched_RT, matched_outside_RT, outside_RM[:, m, None])
        is_right[..., m] = is_matched_RT & ~matched_outside_RT
    return _Judged(found.scores, is_right, is_ignored, (~outside_RG).sum(1))


def _choose(iou_G: np.ndarray, taken_RTG: np.ndarray, outside_RG: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per area and overlap the true box to take, int [R, T], and whether there is one; inside the area if possible."""
    if iou_G.size == 0:
        return np.zeros(taken_RTG.shape[:2], int), np.zeros(taken_RTG.shape[:2], bool)
    free_RTG = ~taken_RTG & (iou_G >= np.array(OVERLAPS)[:, None])
    inside_RTG = free_RTG & ~outside_RG[:, None]
    wanted_RTG: np.ndarray = np.where(inside_RTG.any(-1, keepdims=True), inside_RTG, free_RTG)
    overlap_RTG = np.where(wanted_RTG, iou_G, -1.0)
    last = len(iou_G) - 1 - overlap_RTG[..., ::-1].argmax(-1)  # of equal ones the last, as COCO's own code does
    return last, np.any(wanted_RTG, axis=-1)


def _outside(boxes: np.ndarray) -> np.ndarray:
    """Bool [R, n]: which boxes do not belong to each area."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return np.stack([(areas < area.least) | (areas > area.most) for area in AREAS])


def _joined(images: Sequence[_Judged]) -> _Judged:
    """All images' boxes of a class in one row, best first."""
    if not images:
        nothing = np.zeros((len(AREAS), len(OVERLAPS), 0), bool)
        return _Judged(np.zeros(0), nothing, nothing, np.zeros(len(AREAS), int))
    scores = np.concatenate([image.scores for image in images])
    order = np.argsort(-scores, kind="stable")
    is_right, is_ignored = (
        np.concatenate([getattr(image, name) for image in images], -1)[..., order]
        for name in ("is_right", "is_ignored")
    )
    return _Judged(scores[order], is_right, is_ignored, np.sum([image.num_true for image in images], 0))


def _counting(judged: _Judged, r: int, t: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and rightness of the boxes that count, best first."""
    counts = ~judged.is_ignored[r, t]
    return judged.scores[counts], judged.is_right[r, t][counts]


def _entry(
    index: int, overlap: float, area: Area, counting: tuple[np.ndarray, np.ndarray], num_true: int
) -> BoxMetrics:
    scores, is_right = counting
    shown = np.searchsorted(-scores, -np.array(CURVE_THRESHOLDS), side="right")
    hits = np.concatenate([[0], np.cumsum(is_right)])[shown]
    recall, precision = hits / max(num_true, 1), np.where(shown > 0, hits / np.maximum(shown, 1), 1.0)
    f1 = 2 * hits / np.maximum(shown + num_true, 1)
    half = CURVE_THRESHOLDS.index(0.5)
    return BoxMetrics(
        class_index=index,
        overlap=overlap,
        area=area,
        num_true=num_true,
        average_precision=average_precision(is_right, num_true) if num_true else None,
        precision=float(precision[half]) if shown[half] else 0.0,
        recall=float(recall[half]),
        f1=float(f1[half]),
        best_threshold=ranking(scores, is_right).best_threshold(num_true),
        curve=Curve(x=tuple(recall.tolist()), y=tuple(precision.tolist())),
    )


def average_precision(is_right: np.ndarray, num_true: int) -> float:
    """Mean, over the recalls 0.00, 0.01 … 1.00, of the best precision at that recall or a larger one.

    `is_right` is bool [M], best score first.
    """
    hits = np.cumsum(is_right)
    precision = hits / np.arange(1, len(hits) + 1)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(best[np.searchsorted(hits / num_true, np.linspace(0, 1, 101), side="left")].mean())


def box_iou(boxes_N4: np.ndarray, others_M4: np.ndarray) -> np.ndarray:
    """Intersection over union, float [N, M]; 0 where both are empty."""
    upper = np.minimum(boxes_N4[:, None, 2:], others_M4[None, :, 2:])
    lower = np.maximum(boxes_N4[:, None, :2], others_M4[None, :, :2])
    both = np.clip(upper - lower, 0, None).prod(-1)
    areas, other_areas = ((b[:, 2:] - b[:, :2]).prod(-1) for b in (boxes_N4, others_M4))
    union = areas[:, None] + other_areas - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)
