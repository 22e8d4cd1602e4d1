"""From raw outputs to the few boxes that are shown.

Shapes: N images, A anchors of a level, K classes, M boxes left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from lehr.learn.detection.boxes import clip, decode
from lehr.learn.detection.regressors import Offsets
from lehr.learn.detection.selection import EVALUATED, Selection


@dataclass(frozen=True, kw_only=True)
class Detections:
    """One image's boxes [M, 4] in pixels x1 y1 x2 y2, scores [M] falling, classes int64 [M]."""

    boxes: Tensor
    scores: Tensor
    classes: Tensor

    def above(self, threshold: float) -> Detections:
        """Those whose score is above `threshold` (`detection_score_threshold`); at it is not enough."""
        kept = self.scores > threshold
        return Detections(boxes=self.boxes[kept], scores=self.scores[kept], classes=self.classes[kept])


@torch.no_grad()
def select(
    logits: Sequence[Tensor],
    offsets: Offsets,
    anchors: Sequence[Tensor],
    sizes: Sequence[tuple[int, int]],
    selection: Selection = EVALUATED,
) -> list[Detections]:
    """The detections of every image.

    Args:
        logits: per level [N, A, K].
        offsets: where the boxes' offsets come from.
        anchors: per level [A, 4].
        sizes: height and width in pixels of each image without its padding; boxes are cut off there.
        selection: the rules.
    """
    found = [_candidates(level, logits[level], offsets, anchors[level], selection) for level in range(len(logits))]
    image, boxes, scores, classes = (torch.cat(parts) for parts in zip(*found, strict=True))
    out = []
    for index, (height, width) in enumerate(sizes):
        mine = image == index
        candidates = Detections(boxes=clip(boxes[mine], height, width), scores=scores[mine], classes=classes[mine])
        out.append(_distinct(candidates, selection))
    return out


def _candidates(
    level: int, logits_NAK: Tensor, offsets: Offsets, anchors_A4: Tensor, selection: Selection
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Image, box, score and class of a level's best pairs above the threshold, all images in one row."""
    num_classes = logits_NAK.shape[2]
    flat = logits_NAK.float().flatten(1)
    scores, pairs = flat.topk(min(selection.per_level, flat.shape[1]))
    scores = scores.sigmoid()
    image, rank = (scores > selection.threshold).nonzero(as_tuple=True)
    pair = pairs[image, rank]
    anchor, label = pair // num_classes, pair % num_classes
    boxes = decode(offsets.at(level, image, anchor, label), anchors_A4[anchor])
    return image, boxes, scores[image, rank], label


def _distinct(candidates: Detections, selection: Selection) -> Detections:
    """Without empty boxes and without near-copies within a class; best first, at most `limit`."""
    boxes, scores, classes = candidates.boxes, candidates.scores, candidates.classes
    filled = (boxes[:, 2:] > boxes[:, :2]).all(1)
    boxes, scores, classes = boxes[filled], scores[filled], classes[filled]
    kept = batched_nms(boxes, scores, classes, selection.nms_iou)[: selection.limit]
    return Detections(boxes=boxes[kept], scores=scores[kept], classes=classes[kept])
