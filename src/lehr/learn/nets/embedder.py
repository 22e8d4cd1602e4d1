"""A classifier whose product is what lies before its last layer: the pooled features, brought to length 1."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as everybody writes it

from lehr.learn.nets.classifier import Classifier


class Embedder(Classifier):
    """Normalised float [N, 3, S, S] to unit embeddings [N, D]; in training, to logits [N, K]. Built as `Classifier`."""

    @property
    def num_dimensions(self) -> int:
        """D."""
        return self.base.num_features

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Embeddings of length 1, [N, D]."""
        return F.normalize(self.embed(x_NCHW).float(), dim=1)

    def logits(self, x_NCHW: Tensor) -> Tensor:
        """What the last layer makes of the features, [N, K]."""
        return super().forward(x_NCHW)
