"""Which loss goes with which output."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from lehr.learn.losses.multi_label import multi_label_loss
from lehr.learn.losses.single_label import single_label_loss

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(logits [N, K], targets [N, K]) -> mean loss over the batch."""


def loss_of(activation: str, smoothing: float = 0.0) -> Loss:
    """For "sigmoid" or "softmax"; smoothing applies to softmax only."""
    if activation == "sigmoid":
        return multi_label_loss
    assert activation == "softmax", activation
    return partial(single_label_loss, smoothing=smoothing)


def activated(activation: str, logits_NK: torch.Tensor) -> torch.Tensor:
    """Probabilities, float32 [N, K]; with "none" what was given."""
    if activation == "none":
        return logits_NK.float()
    return torch.sigmoid(logits_NK.float()) if activation == "sigmoid" else torch.softmax(logits_NK.float(), dim=1)
