"""Exactly one concept is true of a picture: softmax."""

from __future__ import annotations

import torch
from torch.nn import functional


def single_label_loss(logits_NK: torch.Tensor, targets_NK: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Cross-entropy in float32 against one-hot (or distributed) targets, averaged over pictures."""
    return functional.cross_entropy(logits_NK.float(), targets_NK, label_smoothing=smoothing)
