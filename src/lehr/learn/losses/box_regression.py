"""Losses of predicted boxes at positive anchors, and the choice of an anchor's regressor by class.

Shapes: P positive anchors, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as everybody writes it
from torchvision.ops import generalized_box_iou_loss


def regressors_of(deltas: Tensor, classes_P: Tensor) -> Tensor:
    """Deltas [P, 4] that train: those themselves, or of [P, K, 4] the set of each anchor's own class.

    The other K - 1 sets of a per-class regressor get no gradient.
    """
    if deltas.ndim == 2:
        return deltas
    return deltas[torch.arange(len(deltas), device=deltas.device), classes_P]


def smooth_l1(deltas_P4: Tensor, wanted_P4: Tensor, *, num_positives: Tensor | float, beta: float = 0.1) -> Tensor:
    """Huber-like loss of encoded boxes (Girshick, arXiv 1504.08083), summed, per positive; a scalar in float32."""
    total = F.smooth_l1_loss(deltas_P4.float(), wanted_P4.float(), beta=beta, reduction="sum")
    return total / torch.as_tensor(num_positives, device=total.device).clamp_min(1)


def giou(boxes_P4: Tensor, wanted_P4: Tensor, *, num_positives: Tensor | float) -> Tensor:
    """1 - generalised IoU (Rezatofighi et al., arXiv 1902.09630) of x1 y1 x2 y2 boxes, per positive; a scalar."""
    total = generalized_box_iou_loss(boxes_P4.float(), wanted_P4.float(), reduction="sum")
    return total / torch.as_tensor(num_positives, device=total.device).clamp_min(1)
