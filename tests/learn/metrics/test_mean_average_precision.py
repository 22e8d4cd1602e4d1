"""Mean average precision against COCO's own code."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from lehr.learn.metrics.mean_average_precision import (
    AREAS,
    OVERLAPS,
    DetectionEvaluation,
    ImageBoxes,
    average_precision,
    box_iou,
    detection_evaluation,
)

CLASSES = 3


def some_images(seed: int, count: int = 12) -> tuple[list[ImageBoxes], list[ImageBoxes]]:
    """True boxes of all sizes; found ones near them, doubled, misnamed, or out of nowhere. Some images have none."""
    rng = np.random.default_rng(seed)
    found, truth = [], []
    for _ in range(count):
        sides = rng.choice([12, 40, 130], (rng.integers(0, 7), 1)) * rng.uniform(0.7, 1.3, (1, 2))
        corners = rng.uniform(0, 250, sides.shape)
        boxes, classes = np.concatenate([corners, corners + sides], 1), rng.integers(0, CLASSES - 1, len(sides))
        truth.append(ImageBoxes(boxes=boxes, classes=classes))
        copies = rng.integers(0, 3, len(boxes))
        near, names = boxes.repeat(copies, 0), classes.repeat(copies)
        near = near + rng.normal(0, 0.07, near.shape) * (near[:, 2:] - near[:, :2]).repeat(2, 1)
        names = np.where(rng.random(len(names)) < 0.15, rng.integers(0, CLASSES, len(names)), names)
        stray = rng.uniform(0, 200, (rng.integers(0, 4), 2))
        stray = np.concatenate([stray, stray + rng.uniform(5, 150, stray.shape)], 1)
        labels = np.concatenate([names, rng.integers(0, CLASSES, len(stray))])
        scores = rng.permutation(1000)[: len(labels)] / 1000 + rng.random() / 2000  # no ties: their order is arbitrary
        found.append(ImageBoxes(boxes=np.concatenate([near, stray]), classes=labels, scores=scores))
    return found, truth


def by_coco(found: list[ImageBoxes], truth: list[ImageBoxes]) -> np.ndarray:
    """Precisions [overlap, recall, class, area] of pycocotools, -1 where there is nothing."""
    coco = pytest.importorskip("pycocotools.coco", reason="pip install pycocotools")
    from pycocotools.cocoeval import COCOeval

    def rows(images: list[ImageBoxes]) -> list[dict[str, object]]:
        out: list[dict[str, object]] = []
        for number, image in enumerate(images):
            for index, (x1, y1, x2, y2) in enumerate(image.boxes.tolist()):
                row = {"image_id": number, "category_id": int(image.classes[index]), "iscrowd": 0}
                row |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "id": len(out) + 1}
                out.append(row | ({"score": float(image.scores[index])} if image.scores is not None else {}))
        return out

    with contextlib.redirect_stdout(io.StringIO()):
        reference = coco.COCO()
        reference.dataset = {
            "info": {},
            "images": [{"id": number} for number in range(len(truth))],
            "categories": [{"id": index} for index in range(CLASSES)],
            "annotations": rows(truth),
        }
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(rows(found)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][..., -1]


@pytest.mark.parametrize("seed", range(4))
def test_every_class_overlap_and_area_is_as_coco_counts_it(seed: int) -> None:
    found, truth = some_images(seed)
    wanted = by_coco(found, truth)
    ours = detection_evaluation(found, truth, CLASSES)
    assert len(ours.entries) == CLASSES * len(OVERLAPS) * len(AREAS)
    for entry in ours.entries:
        t, a = OVERLAPS.index(entry.overlap), AREAS.index(entry.area)
        theirs = wanted[t, :, entry.class_index, a].mean()
        assert (-1.0 if entry.average_precision is None else entry.average_precision) == pytest.approx(theirs, abs=1e-9)
    for area_index, area in enumerate(AREAS):
        there = wanted[..., area_index]
        assert ours.mean_ap(area=area.name) == pytest.approx(there[there > -1].mean())
    assert ours.map_50 == pytest.approx(wanted[0, :, :, 0][wanted[0, :, :, 0] > -1].mean())
    assert ours.map_range == ours.mean_ap()


def test_precision_recall_and_f1_follow_the_score() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]])
    truth = [ImageBoxes(boxes=boxes, classes=np.zeros(3, int))]
    shown = np.concatenate([boxes[:2], [[70.0, 70, 80, 80], [90, 0, 99, 9]]])
    found = [ImageBoxes(boxes=shown, classes=np.zeros(4, int), scores=np.array([0.9, 0.3, 0.6, 0.05]))]
    entry = detection_evaluation(found, truth, 1).entries[0]
    assert (entry.num_true, entry.precision, entry.recall, entry.f1) == (3, 0.5, pytest.approx(1 / 3), 0.4)
    points = dict(zip(entry.curve.thresholds, zip(entry.curve.x, entry.curve.y, strict=True), strict=True))
    assert points[0.05] == (pytest.approx(2 / 3), 0.5)
    assert points[0.3] == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert points[0.95] == (0.0, 1.0)
    assert entry.best_threshold == pytest.approx((0.3 + 0.05) / 2)


@pytest.mark.parametrize("seed", range(4))
def test_no_threshold_has_a_larger_f1_than_the_best_one(seed: int) -> None:
    found, truth = some_images(seed)
    low = [ImageBoxes(boxes=one.boxes, classes=one.classes, scores=0.05 + one.scores / 100) for one in found]

    def f1_from(threshold: float, index: int) -> float:
        """Of the boxes with scores from this one up: it is moved to 0.5, where F1 is measured."""
        shown = [ImageBoxes(boxes=o.boxes, classes=o.classes, scores=o.scores - threshold + 0.5) for o in low]
        return detection_evaluation(shown, truth, CLASSES).entries[index].f1

    for number, entry in enumerate(detection_evaluation(low, truth, CLASSES).entries):
        if entry.overlap == 0.5 and entry.area.name == "all" and entry.num_true:
            scores = np.unique(np.concatenate([one.scores for one in low]))
            best = max(f1_from(score, number) for score in scores)
            assert f1_from(entry.best_threshold, number) == pytest.approx(best)
            assert 0 < entry.best_threshold < 0.06


def test_nothing_found_is_zero_and_nothing_there_is_nothing_to_measure() -> None:
    none = np.zeros((0, 4))
    empty = ImageBoxes(boxes=none, classes=np.zeros(0, int), scores=np.zeros(0))
    one = ImageBoxes(boxes=np.array([[0.0, 0, 10, 10]]), classes=np.zeros(1, int), scores=np.ones(1))
    assert detection_evaluation([empty], [one], 1).map_50 == 0
    assert detection_evaluation([one], [one], 1).map_range == 1
    nothing = detection_evaluation([one], [empty], 1)
    assert isinstance(nothing, DetectionEvaluation)
    assert nothing.map_50 is None
    assert detection_evaluation([], [], 2).map_range is None


def test_average_precision_takes_the_best_precision_at_a_recall_or_beyond() -> None:
    assert average_precision(np.array([False, True, True]), 2) == pytest.approx(2 / 3)
    assert average_precision(np.zeros(0, bool), 2) == 0


def test_overlap_of_boxes() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [5, 5, 5, 5]])
    assert box_iou(boxes, np.array([[5.0, 0, 15, 10]])).tolist() == [[pytest.approx(1 / 3)], [0.0]]
