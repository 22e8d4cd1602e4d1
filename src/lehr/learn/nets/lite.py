"""EfficientNet-Lite0 with a linear head: the network of Lehr's built-in base (arXiv 1905.11946, lite form)."""

from __future__ import annotations

import timm
import torch
from torch import nn

BASE = "tf_efficientnet_lite0"
NUM_FEATURES = 1280


class Lite(nn.Module):
    """Normalised float [N, 3, S, S], S at least 32 -> logits [N, K]. 3.4 million parameters and 1281 per concept."""

    def __init__(self, num_concepts: int) -> None:
        super().__init__()
        self.base = timm.create_model(BASE, pretrained=False, num_classes=0)
        self.head = nn.Linear(NUM_FEATURES, num_concepts)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Logits [N, K]."""
        return self.head(self.base(x_NCHW))
