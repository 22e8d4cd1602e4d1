"""A linear layer on what an embedder gives: the network of embedding-classifier models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


class EmbeddingClassifier(nn.Module):
    """Normalised float [N, 3, S, S] to logits [N, K].

    Args:
        embedder: name of the embedder's network in the catalogue.
        arguments: of that network.
        num_features: length of its embeddings, D.
        num_concepts: K.
    """

    def __init__(self, embedder: str, arguments: Mapping[str, Any], num_features: int, num_concepts: int) -> None:
        super().__init__()
        from lehr.learn.nets.catalogue import build

        self.base = build(embedder, arguments)
        self.head = nn.Linear(num_features, num_concepts)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Logits [N, K]."""
        embeddings_ND = self.base(x_NCHW)
        with torch.autocast(x_NCHW.device.type, enabled=False):  # embeddings differ little: bfloat16 would blur them
            return self.head(embeddings_ND.float())


def num_dimensions(embedder: str, arguments: Mapping[str, Any]) -> int:
    """Length of the embeddings of a network of the catalogue, without computing one."""
    from lehr.learn.nets.catalogue import build

    with torch.device("meta"):
        return int(build(embedder, arguments).num_dimensions)  # type: ignore[arg-type]
