"""Several concepts may be true of one picture: independent sigmoids."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional


def multi_label_loss(logits_NK: torch.Tensor, targets_NK: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy in float32, summed over concepts and averaged over pictures.

    Summed, so that the step size that suits one concept suits a hundred: with a mean its effect falls as 1 / K.
    """
    total = functional.binary_cross_entropy_with_logits(logits_NK.float(), targets_NK, reduction="sum")
    return total / len(logits_NK)


def prior_logits(positives: Sequence[int], num_items: int) -> torch.Tensor:
    """float32 [K]: the bias at which each concept is predicted as often as it occurs (arXiv 1708.02002, 4.1).

    Smoothed by half an item, so that a concept that never or always occurs stays finite.
    """
    counts_K = torch.tensor(positives, dtype=torch.float32)
    return torch.logit((counts_K + 0.5) / (num_items + 1.0))
