"""A backbone with a linear layer on its pooled features: every classifier of the templates but the smallest."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lehr.learn.nets.backbones import build_backbone


class Classifier(nn.Module):
    """Normalised float [N, 3, S, S] to logits [N, K].

    Args:
        backbone: a name of `backbones.BACKBONES`.
        num_concepts: K.
        dropout: share of the pooled features dropped in training (0.2 in the Inception papers).
        options: the backbone's own, as plain values.

    `base` is what pretrained weights fill and `base_gradient_multiplier` slows; `head` is always new.
    """

    def __init__(
        self, backbone: str, num_concepts: int, *, dropout: float = 0.0, options: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.base = build_backbone(backbone, **(options or {}))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.base.num_features, num_concepts)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Logits [N, K]."""
        return self.head(self.dropout(self.base(x_NCHW)))

    def embed(self, x_NCHW: Tensor) -> Tensor:
        """The pooled features [N, D] in front of the last layer, of no particular length."""
        return self.base(x_NCHW)
