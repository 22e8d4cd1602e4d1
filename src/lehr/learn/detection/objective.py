"""What a dense detector is trained for: each anchor's class, and the box of each positive anchor.

Shapes: N images, A all anchors, P positives, G true boxes, K classes, E further positives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lehr.learn.advance import made_together
from lehr.learn.data.upload import sent
from lehr.learn.detection.boxes import decode, encode
from lehr.learn.detection.matching import match
from lehr.learn.detection.regressors import Offsets
from lehr.learn.losses.anchor_classes import Further
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

    `classes` is int64 [N, A]: a class, BACKGROUND or IGNORED. Of the positives: their image, their index among all
    anchors and their class, int64 [P] each, and their true box [P, 4]. An anchor whose box is drawn for several classes
    is a positive of each: `further` holds those beside the one in `classes`, None where there are none. The positives
    come level after level, `per_level` of each.
    """

    classes: Tensor
    image: Tensor
    anchor: Tensor
    label: Tensor
    box: Tensor
    further: Further | None = None
    per_level: tuple[int, ...] = ()

    def on(self, place: torch.device | str) -> Assignment:
        """The same on a device that learns from it; it was made on the processor, which no GPU waits for."""
        return replace(
            self,
            classes=sent(self.classes, place),
            image=sent(self.image, place),
            anchor=sent(self.anchor, place),
            label=sent(self.label, place),
            box=sent(self.box, place),
            further=Further(*(sent(part, place) for part in self.further)) if self.further else None,
        )


def assign(anchors: Sequence[Tensor], truth: Sequence[TrueBoxes]) -> Assignment:
    """Match every image's boxes to the anchors (IoU 0.5 positive, below 0.4 background, the best anchor always).

    Anchors [A, 4] of each level, on the device of the truth.
    """
    return _by_level(_assigned(torch.cat(list(anchors)), truth), [len(level) for level in anchors])


def _by_level(found: Assignment, lengths: Sequence[int]) -> Assignment:
    """With the positives of each level together."""
    ends = torch.tensor(lengths, device=found.anchor.device).cumsum(0)
    level_P = torch.bucketize(found.anchor, ends, right=True)
    order_P = level_P.argsort(stable=True)
    return replace(
        found,
        image=found.image[order_P],
        anchor=found.anchor[order_P],
        label=found.label[order_P],
        box=found.box[order_P],
        per_level=tuple(level_P.bincount(minlength=len(lengths)).tolist()),
    )


def _assigned(anchors_A4: Tensor, truth: Sequence[TrueBoxes]) -> Assignment:
    matched_NA = torch.stack(made_together(lambda image: match(anchors_A4, image.boxes), truth))
    image_P, anchor_P = (matched_NA >= 0).nonzero(as_tuple=True)
    drawn = _drawn(truth, matched_NA.device)
    box_P = matched_NA[image_P, anchor_P] + drawn.first_N[image_P]
    found = Assignment(
        classes=matched_NA.index_put((image_P, anchor_P), drawn.classes_G[box_P]),
        image=image_P,
        anchor=anchor_P,
        label=drawn.classes_G[box_P],
        box=drawn.boxes_G4[box_P],
    )
    beside = drawn.beside()
    return found if beside is None else _with_further(found, box_P, beside, drawn)


class _Drawn(NamedTuple):
    """The true boxes of all images of a batch in one row; `first_N`: where each image's begin."""

    boxes_G4: Tensor
    classes_G: Tensor
    image_G: Tensor
    first_N: Tensor

    def beside(self) -> tuple[Tensor, Tensor] | None:
        """Pairs of boxes that are the very same but for their class, of equal ones the first alone: int64 [M] each.

        Sorted by the first of a pair. None, which takes no more than sorting them, where all boxes differ.
        """
        if len(self.boxes_G4) == 0:
            return None
        places_G5 = torch.cat([self.image_G[:, None].to(self.boxes_G4), self.boxes_G4], 1)
        _, which_G, counts = places_G5.unique(dim=0, return_inverse=True, return_counts=True)
        (shared_S,) = (counts[which_G] > 1).nonzero(as_tuple=True)
        which_S, classes_S = which_G[shared_S], self.classes_G[shared_S]
        is_same_SS, is_of_class_SS = which_S[:, None] == which_S, classes_S[:, None] == classes_S
        is_repeated_S = (is_same_SS & is_of_class_SS).tril(-1).any(1)
        one_M, other_M = (is_same_SS & ~is_of_class_SS & ~is_repeated_S).nonzero(as_tuple=True)
        return (shared_S[one_M], shared_S[other_M]) if len(one_M) else None


def _drawn(truth: Sequence[TrueBoxes], device: torch.device) -> _Drawn:
    counts_N = torch.tensor([len(image.boxes) for image in truth])
    return _Drawn(
        boxes_G4=torch.cat([image.boxes.reshape(-1, 4) for image in truth]),
        classes_G=torch.cat([image.classes for image in truth]),
        image_G=torch.arange(len(truth)).repeat_interleave(counts_N).to(device),
        first_N=(counts_N.cumsum(0) - counts_N).to(device),
    )


def _with_further(found: Assignment, box_P: Tensor, beside: tuple[Tensor, Tensor], drawn: _Drawn) -> Assignment:
    """With every positive, whose box is `box`, once more for each box that is beside that."""
    one_M, other_M = beside
    count_G = one_M.bincount(minlength=len(drawn.boxes_G4))
    count_P = count_G[box_P]
    positive_E = torch.arange(len(box_P), device=box_P.device).repeat_interleave(count_P)
    number_E = torch.arange(len(positive_E), device=box_P.device) - (count_P.cumsum(0) - count_P)[positive_E]
    box_E = other_M[(count_G.cumsum(0) - count_G)[box_P[positive_E]] + number_E]
    image_E, anchor_E, label_E = found.image[positive_E], found.anchor[positive_E], drawn.classes_G[box_E]
    return replace(
        found,
        image=torch.cat([found.image, image_E]),
        anchor=torch.cat([found.anchor, anchor_E]),
        label=torch.cat([found.label, label_E]),
        box=torch.cat([found.box, drawn.boxes_G4[box_E]]),
        further=Further(image_E, anchor_E, label_E),
    )


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
        self, logits: Sequence[Tensor], offsets: Offsets, anchors: Sequence[Tensor], wanted: Assignment
    ) -> DetectionLoss:
        """Losses of a batch: logits per level [N, anchors, K], anchors per level [anchors, 4], and what is wanted."""
        num_positives = self._averaged(len(wanted.image))
        logits_NAK = torch.cat(list(logits), 1)
        if self.use_focal_loss:
            of_classes = focal_loss(logits_NAK, wanted.classes, num_positives=num_positives, further=wanted.further)
        else:
            of_classes = mined_loss(logits_NAK, wanted.classes, further=wanted.further)
        return DetectionLoss(of_classes, self._of_boxes(offsets, anchors, wanted, num_positives))

    def _averaged(self, num_positives: int) -> Tensor:
        count = self.average_positives.new_full((), max(1.0, num_positives))  # no copy, which a GPU would wait for
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
        deltas_P4 = _at_positives(offsets, [len(level) for level in anchors], wanted)
        anchors_P4 = torch.cat(list(anchors))[wanted.anchor]
        if self.use_giou:
            return giou(decode(deltas_P4, anchors_P4), wanted.box, num_positives=num_positives)
        return smooth_l1(deltas_P4, encode(wanted.box, anchors_P4), num_positives=num_positives)


def _at_positives(offsets: Offsets, lengths: Sequence[int], wanted: Assignment) -> Tensor:
    """Offsets [P, 4] at the positives, in their order."""
    deltas, start, first = [], 0, 0
    for level, (length, count) in enumerate(zip(lengths, wanted.per_level, strict=True)):
        here = slice(first, first + count)
        deltas.append(offsets.at(level, wanted.image[here], wanted.anchor[here] - start, wanted.label[here]))
        start, first = start + length, first + count
    return torch.cat(deltas)
