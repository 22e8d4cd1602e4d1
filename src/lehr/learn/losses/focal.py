"""Focal loss for dense detectors (Lin et al., arXiv 1708.02002), on torchvision's kernel.

Shapes: N images, A anchors, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from lehr.learn.losses.anchor_classes import IGNORED, Further, one_hot


def focal_loss(
    logits_NAK: Tensor,
    classes_NA: Tensor,
    *,
    num_positives: Tensor | float,
    further: Further | None = None,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Tensor:
    """Sum over anchors and classes, divided by the number of positives (never by less than 1); a scalar.

    `classes_NA` is int64: a class, BACKGROUND or IGNORED; `further`: what anchors are beside it (see `anchor_classes`).
    Computed in float32.
    """
    logits_NAK = logits_NAK.float()
    loss = sigmoid_focal_loss(logits_NAK, one_hot(classes_NA, logits_NAK, further), alpha, gamma)
    total = loss.sum(-1).masked_fill(classes_NA == IGNORED, 0).sum()
    return total / torch.as_tensor(num_positives, device=total.device).clamp_min(1)
