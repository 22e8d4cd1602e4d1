"""From raw outputs to the few boxes that are shown, in numpy: what serves on a CPU. Its oracle is postprocess.py.

Shapes: A anchors of all levels, K classes, S sets of offsets (1 or K), M boxes left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lehr.learn.metrics.mean_average_precision import ImageBoxes, box_iou

MAX_LOG_GROWTH = float(np.log(1000 / 16))
"""Decoded sides are at most 62.5 times the anchor's: exp of a wild prediction must not overflow (as in Detectron)."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which boxes are left: scores above `threshold` (not at it), the best `per_level` pairs of each level, of boxes of
    one class that overlap by more than `nms_iou` the best one, the best `limit` in all."""

    threshold: float = 0.05
    per_level: int = 1000
    nms_iou: float = 0.5
    limit: int = 100


EVALUATED = Selection()
"""The rules of evaluation; what is served is a part of what they leave."""


@dataclass(frozen=True, kw_only=True)
class RawOutputs:
    """What the exported network says of one image: logits float32 [A, K], offsets float32 [A, S, 4]."""

    logits: np.ndarray
    offsets: np.ndarray


def select_boxes(
    raw: RawOutputs, levels: Sequence[np.ndarray], size: tuple[int, int], selection: Selection
) -> ImageBoxes:
    """The detections of one image, best first, in pixels x1 y1 x2 y2.

    Args:
        raw: outputs of all levels, one after another.
        levels: anchors of each level, float32 [n, 4].
        size: height and width of the image without its padding; boxes are cut off there.
        selection: the rules.
    """
    anchor_M, class_M = _best_pairs(raw.logits, [len(level) for level in levels], selection)
    scores_M = sigmoid(raw.logits[anchor_M, class_M])
    sets_M = class_M if raw.offsets.shape[1] > 1 else np.zeros_like(class_M)
    boxes_M4 = clipped(decoded(raw.offsets[anchor_M, sets_M], np.concatenate(levels)[anchor_M]), size)
    kept = (boxes_M4[:, 2:] > boxes_M4[:, :2]).all(1)
    candidates = ImageBoxes(boxes=boxes_M4[kept], classes=class_M[kept], scores=scores_M[kept])
    return _distinct(candidates, selection)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities, float32."""
    return (1.0 / (1.0 + np.exp(-np.clip(logits, -80, 80)))).astype(np.float32)


def decoded(deltas: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Boxes float32 [..., 4] in pixels of offsets from anchors: `boxes.decode` in numpy."""
    corners, far = anchors[..., :2], anchors[..., 2:]
    sides = far - corners
    centers = deltas[..., :2] * sides + (corners + far) / 2
    halves = np.exp(np.minimum(deltas[..., 2:], MAX_LOG_GROWTH)) * sides / 2
    return np.concatenate([centers - halves, centers + halves], -1).astype(np.float32)


def clipped(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boxes cut off at the border of an image of this height and width."""
    height, width = size
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float32))


def _best_pairs(logits_AK: np.ndarray, lengths: Sequence[int], selection: Selection) -> tuple[np.ndarray, np.ndarray]:
    """Anchor and class of the best pairs of every level that are above the threshold, int64 [M] each."""
    least = np.log(selection.threshold / (1 - selection.threshold)) if selection.threshold > 0 else -np.inf
    num_classes = logits_AK.shape[1]
    anchors, classes, start = [], [], 0
    for length in lengths:
        flat = logits_AK[start : start + length].reshape(-1)
        pairs = np.flatnonzero(flat > least)
        if len(pairs) > selection.per_level:
            pairs = pairs[np.argpartition(-flat[pairs], selection.per_level - 1)[: selection.per_level]]
        anchors.append(start + pairs // num_classes)
        classes.append(pairs % num_classes)
        start += length
    return np.concatenate(anchors), np.concatenate(classes)


def _distinct(candidates: ImageBoxes, selection: Selection) -> ImageBoxes:
    """Without near-copies within a class; best first, at most `limit`. Greedy, so it stops at the limit."""
    assert candidates.scores is not None
    order = np.argsort(-candidates.scores, kind="stable")
    kept: list[int] = []
    while len(order) and len(kept) < selection.limit:
        best, order = order[0], order[1:]
        kept.append(int(best))
        overlap = box_iou(candidates.boxes[best][None], candidates.boxes[order])[0]
        is_copy = (overlap > selection.nms_iou) & (candidates.classes[order] == candidates.classes[best])
        order = order[~is_copy]
    return ImageBoxes(boxes=candidates.boxes[kept], classes=candidates.classes[kept], scores=candidates.scores[kept])
