"""What an anchor is to be called: a class from 0, BACKGROUND, or IGNORED (it takes no part in the loss).

Where boxes of several classes coincide an anchor is all of them: one class is its own, the others stand beside.
Shapes: N images, A anchors, K classes, E further classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BACKGROUND = -1
IGNORED = -2


class Further(NamedTuple):
    """Classes that anchors are beside their own: image, anchor and class, int64 [E] each."""

    image: Tensor
    anchor: Tensor
    label: Tensor


def one_hot(classes_NA: Tensor, like_NAK: Tensor, further: Further | None = None) -> Tensor:
    """Targets [N, A, K] of `like`'s type and device: 1 at an anchor's class and at those that it is beside it.

    Nothing for background and ignored.
    """
    targets_NAK = torch.zeros_like(like_NAK).scatter_(
        -1, classes_NA.clamp_min(0)[..., None], (classes_NA >= 0)[..., None].to(like_NAK)
    )
    if further is not None:
        targets_NAK[further.image, further.anchor, further.label] = 1
    return targets_NAK
