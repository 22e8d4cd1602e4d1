"""Which box, if any, each anchor is to find.

Shapes: A anchors, G true boxes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_iou

from lehr.learn.losses.anchor_classes import BACKGROUND, IGNORED


def match(anchors_A4: Tensor, boxes_G4: Tensor, *, positive: float = 0.5, negative: float = 0.4) -> Tensor:
    """Per anchor, int64 [A]: the index of its box, BACKGROUND, or IGNORED.

    An anchor belongs to the box that it overlaps most, if by `positive` IoU or more; below `negative` it is background.
    The anchors that overlap a box more than all others do belong to that box whatever the IoU, so that no box is left
    out; where an anchor is the best of several boxes, the one with the larger overlap has it. Of boxes that are the
    very same any one has it: `objective.assign` sees to the others.
    """
    if len(boxes_G4) == 0:
        return torch.full((len(anchors_A4),), BACKGROUND, device=anchors_A4.device)
    iou_AG = box_iou(anchors_A4, boxes_G4.to(anchors_A4))
    overlap_A, nearest_A = iou_AG.max(1)
    matched_A = nearest_A.masked_fill(overlap_A < positive, IGNORED).masked_fill(overlap_A < negative, BACKGROUND)
    best_AG = (iou_AG == iou_AG.amax(0)) & (iou_AG > 0)
    rescued_A = iou_AG.masked_fill(~best_AG, -1).argmax(1)
    return torch.where(best_AG.any(1), rescued_A, matched_A)
