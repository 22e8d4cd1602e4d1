"""A linear layer on standardised features, and how it becomes an ordinary one."""

from __future__ import annotations

import torch
from torch import nn


class StandardisedHead(nn.Module):
    """float [N, D] -> logits [N, K]; over the training set each feature has mean 0 and variance 1.

    So one step size suits every base, and the one that suits fine-tuning (0.005 for batches of 64) suits the head too.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, features_ND: torch.Tensor, num_concepts: int) -> None:
        super().__init__()
        features_ND = features_ND.float()
        num_features = features_ND.shape[1]
        self.register_buffer("mean", features_ND.mean(0))
        self.register_buffer("scale", 1.0 / (features_ND.std(0, correction=0) + 1e-3))
        self.linear = nn.Linear(num_features, num_concepts)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features_ND: torch.Tensor) -> torch.Tensor:
        """Logits [N, K]."""
        return self.linear(self.standardised(features_ND))

    def standardised(self, features_ND: torch.Tensor) -> torch.Tensor:
        """Features with mean 0 and variance 1 over the training set, float32 [N, D]."""
        return (features_ND.float() - self.mean) * self.scale

    @torch.no_grad()
    def write_into(self, linear: nn.Linear) -> None:
        """Makes `linear` compute the same from raw features."""
        weight_KD = self.linear.weight * self.scale
        linear.weight.copy_(weight_KD)
        linear.bias.copy_(self.linear.bias - weight_KD @ self.mean)

    @torch.no_grad()
    def read_from(self, linear: nn.Linear) -> None:
        """Computes what `linear` makes of raw features: the inverse of `write_into`."""
        self.linear.weight.copy_(linear.weight / self.scale)
        self.linear.bias.copy_(linear.bias + linear.weight @ self.mean)
