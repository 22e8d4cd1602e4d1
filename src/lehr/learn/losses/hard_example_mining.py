"""Online hard example mining: the alternative to focal loss when `use_focal_loss` is off.

As in SSD (Liu et al., arXiv 1512.02325): cross-entropy over all positives and the hardest negatives, three to one.
Shapes: N images, A anchors, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as everybody writes it

from lehr.learn.losses.anchor_classes import BACKGROUND, Further, one_hot


def mined_loss(
    logits_NAK: Tensor,
    classes_NA: Tensor,
    *,
    further: Further | None = None,
    ratio: float = 3.0,
    min_negatives: int = 64,
) -> Tensor:
    """Binary cross-entropy over the mined anchors, summed over classes; a scalar, computed in float32.

    The sum is divided by mined anchors / (1 + ratio): that is the number of positives where the ratio is met, and keeps
    an image without any object from counting for more. `classes_NA` and `further` as in `anchor_classes`.
    """
    logits_NAK = logits_NAK.float()
    targets_NAK = one_hot(classes_NA, logits_NAK, further)
    loss_NA = F.binary_cross_entropy_with_logits(logits_NAK, targets_NAK, reduction="none").sum(-1)
    mined_NA = mine(loss_NA.detach(), classes_NA, ratio=ratio, min_negatives=min_negatives)
    return loss_NA.masked_fill(~mined_NA, 0).sum() * (1 + ratio) / mined_NA.sum().clamp_min(1)


def mine(loss_NA: Tensor, classes_NA: Tensor, *, ratio: float = 3.0, min_negatives: int = 64) -> Tensor:
    """Which anchors train, bool [N, A]: every positive, and per image the costliest background anchors.

    As many of these as `ratio` times the image's positives, at least `min_negatives`, at most all.
    """
    positive_NA, background_NA = classes_NA >= 0, classes_NA == BACKGROUND
    wanted_N = (positive_NA.sum(1) * ratio).round().clamp_min(min_negatives)
    hardest_NA = loss_NA.masked_fill(~background_NA, -torch.inf).argsort(dim=1, descending=True, stable=True)
    within_NA = torch.arange(loss_NA.shape[1], device=loss_NA.device) < wanted_N[:, None]
    chosen_NA = torch.zeros_like(background_NA).scatter_(1, hardest_NA, within_NA)
    return positive_NA | (chosen_NA & background_NA)
