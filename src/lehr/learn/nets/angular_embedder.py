"""A backbone trained by angles: pooled features, a linear map to `embeddings_size`, BatchNorm, and ArcFace on top."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody writes it

from lehr.learn.losses.arcface import ArcFace
from lehr.learn.nets.backbones import build_backbone


class AngularEmbedder(nn.Module):
    """Normalised float [N, 3, S, S] to unit embeddings [N, embeddings_size]; in training, to logits [N, K] by angle.

    Args:
        backbone: a name of `backbones.BACKBONES`.
        embeddings_size: length of the embedding.
        arcface: arguments of `ArcFace` after the first: `num_classes`, and its options.
        options: the backbone's own, as plain values.

    `base` is what pretrained weights fill; everything else is new.
    """

    def __init__(
        self, backbone: str, embeddings_size: int, *, arcface: dict[str, Any], options: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.base = build_backbone(backbone, **(options or {}))
        self.projection = nn.Linear(self.base.num_features, embeddings_size, bias=False)
        self.norm = nn.BatchNorm1d(embeddings_size)
        self.head = ArcFace(embeddings_size, **arcface)

    @property
    def num_dimensions(self) -> int:
        """Length of the embedding."""
        return self.projection.out_features

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Embeddings of length 1, [N, embeddings_size]: what a trained embedder gives."""
        return F.normalize(self._embedding(x_NCHW).float(), dim=1)

    def logits(self, x_NCHW: Tensor, labels_N: Tensor | None = None, share: float = 1.0) -> Tensor:
        """Logits [N, K]; with labels, that share of the margin is applied to the right classes."""
        return self.head(self._embedding(x_NCHW), labels_N, share)

    def _embedding(self, x_NCHW: Tensor) -> Tensor:
        return self.norm(self.projection(self.base(x_NCHW)))
