"""What an anchor is to be called: a class from 0, BACKGROUND, or IGNORED (it takes no part in the loss).

Shapes: N images, A anchors, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

BACKGROUND = -1
IGNORED = -2


def one_hot(classes_NA: Tensor, like_NAK: Tensor) -> Tensor:
    """Targets [N, A, K] of `like`'s type and device: 1 at an anchor's class; nothing for background and ignored."""
    return torch.zeros_like(like_NAK).scatter_(
        -1, classes_NA.clamp_min(0)[..., None], (classes_NA >= 0)[..., None].to(like_NAK)
    )
