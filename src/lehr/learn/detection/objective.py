"""What a dense detector is trained for: each anchor's class, and the box of each positive anchor.

Shapes: N images, A all anchors, P positive anchors, G an image's true boxes, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lehr.learn.detection.boxes import decode, encode
from lehr.learn.detection.matching import match
from lehr.learn.detection.regressors import Offsets
from lehr.learn.losses.box_regression import giou, smooth_l1
from lehr.learn.losses.focal import focal_loss
from lehr.learn.losses.hard_example_mining import mined_loss


class TrueBoxes(NamedTuple):
    """An image's annotation: boxes [G, 4] in pixels x1 y1 x2 y2, classes int64 [G]."""

    boxes: Tensor
    classes: Tensor


class DetectionLoss(NamedTuple):
    """Two scalars; their sum is what is minimised."""

    classes: Tensor
    boxes: Tensor


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What the anchors of a batch are to say.

    `classes` is int64 [N, A]: a class, BACKGROUND or IGNORED. Of the positive anchors: their image and their index
    among all anchors, both int64 [P], and their true box [P, 4].
    """

    classes: Tensor
    image: Tensor
    anchor: Tensor
    box: Tensor

    @property
    def positive_classes(self) -> Tensor:
        """Classes of the positives, int64 [P]."""
        return self.classes[self.image, self.anchor]


def assign(anchors_A4: Tensor, truth: Sequence[TrueBoxes]) -> Assignment:
    """Match every image's boxes to the anchors (IoU 0.5 positive, below 0.4 background, the best anchor always)."""
    classes, boxes = zip(*(_named(match(anchors_A4, image.boxes), image) for image in truth), strict=True)
    classes_NA = torch.stack(classes)
    image_P, anchor_P = (classes_NA >= 0).nonzero(as_tuple=True)
    return Assignment(classes=classes_NA, image=image_P, anchor=anchor_P, box=torch.cat(boxes))


def _named(matched_A: Tensor, image: TrueBoxes) -> tuple[Tensor, Tensor]:
    """Classes [A] of an image's anchors, and the true boxes of its positive ones."""
    if len(image.boxes) == 0:
        return matched_A, image.boxes.reshape(0, 4)
    found_A = matched_A.clamp_min(0)
    return torch.where(matched_A >= 0, image.classes[found_A], matched_A), image.boxes[matched_A[matched_A >= 0]]


class DetectionObjective(nn.Module):
    """Focal loss or mined cross-entropy for classes, smooth L1 or GIoU for boxes.

    With focal loss, both are divided by the number of positives averaged over batches (momentum 0.9, as in Detectron2),
    which keeps a batch with one small object from taking a giant step. The average is part of the state.
    """

    average_positives: Tensor

    def __init__(self, *, use_focal_loss: bool = True, use_giou: bool = False) -> None:
        super().__init__()
        self.use_focal_loss = use_focal_loss
        self.use_giou = use_giou
        self.register_buffer("average_positives", torch.zeros(()))

    def forward(
        self, logits: Sequence[Tensor], offsets: Offsets, anchors: Sequence[Tensor], truth: Sequence[TrueBoxes]
    ) -> DetectionLoss:
        """Losses of a batch: logits per level [N, anchors, K], anchors per level [anchors, 4], truth per image."""
        wanted = assign(torch.cat(list(anchors)), truth)
        num_positives = self._averaged(len(wanted.image))
        logits_NAK = torch.cat(list(logits), 1)
        if self.use_focal_loss:
            of_classes = focal_loss(logits_NAK, wanted.classes, num_positives=num_positives)
        else:
            of_classes = mined_loss(logits_NAK, wanted.classes)
        return DetectionLoss(of_classes, self._of_boxes(offsets, anchors, wanted, num_positives))

    def _averaged(self, num_positives: int) -> Tensor:
        count = self.average_positives.new_tensor(max(1.0, num_positives))
        if not self.use_focal_loss:
            return count
        if not self.training:
            return count  # a judged batch may have another size than those that were averaged
        averaged = torch.where(self.average_positives == 0, count, self.average_positives.lerp(count, 0.1))
        self.average_positives.copy_(averaged)
        return averaged

    def _of_boxes(
        self, offsets: Offsets, anchors: Sequence[Tensor], wanted: Assignment, num_positives: Tensor
    ) -> Tensor:
        deltas_P4, order_P = _at_positives(offsets, [len(level) for level in anchors], wanted)
        anchors_P4, boxes_P4 = torch.cat(list(anchors))[wanted.anchor[order_P]], wanted.box[order_P]
        if self.use_giou:
            return giou(decode(deltas_P4, anchors_P4), boxes_P4, num_positives=num_positives)
        return smooth_l1(deltas_P4, encode(boxes_P4, anchors_P4), num_positives=num_positives)


def _at_positives(offsets: Offsets, lengths: Sequence[int], wanted: Assignment) -> tuple[Tensor, Tensor]:
    """Offsets [P, 4] at the positives, level after level, and which positive each row is."""
    deltas, order, start = [], [], 0
    for level, length in enumerate(lengths):
        (here,) = ((wanted.anchor >= start) & (wanted.anchor < start + length)).nonzero(as_tuple=True)
        classes = wanted.positive_classes[here]
        deltas.append(offsets.at(level, wanted.image[here], wanted.anchor[here] - start, classes))
        order.append(here)
        start += length
    return torch.cat(deltas), torch.cat(order)
