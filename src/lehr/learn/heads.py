"""The last layer of a classifier by itself, on embeddings that somebody else has made. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from lehr.errors import InvalidInput
from lehr.learn.bundle import read_bundle

NET, WHOLE_NET = "embedding_classifier", "classifier"


@dataclass(frozen=True, kw_only=True)
class Head:
    """A linear layer and its activation."""

    weight_KD: np.ndarray
    bias_K: np.ndarray
    activation: str

    def probabilities(self, embeddings_ND: np.ndarray) -> np.ndarray:
        """float32 [N, K]. Raises InvalidInput for embeddings of another length."""
        dimensions = self.weight_KD.shape[1]
        if embeddings_ND.shape[1] != dimensions:
            raise InvalidInput(
                f"The classifier was trained on embeddings of {dimensions} numbers; these have "
                f"{embeddings_ND.shape[1]}. Put the embedder that it was trained on before it."
            )
        logits_NK = embeddings_ND.astype(np.float32) @ self.weight_KD.T + self.bias_K
        if self.activation == "sigmoid":
            return 1 / (1 + np.exp(-np.clip(logits_NK, -60, 60)))
        powers_NK = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
        return powers_NK / powers_NK.sum(axis=1, keepdims=True)

    def directions(self) -> np.ndarray:
        """float32 [K, D]: where embeddings of each concept lie; without the rows' mean, which softmax does not see."""
        common_D = self.weight_KD.mean(axis=0) if self.activation == "softmax" else 0.0
        return (self.weight_KD - common_D).astype(np.float32)


@lru_cache(maxsize=64)
def read_head(folder: Path, net: str = NET) -> Head:
    """The head of a model folder, read once: what is in a folder never changes. Raises InvalidInput for another net."""
    from safetensors import safe_open

    bundle = read_bundle(folder)
    if bundle.details["net"]["name"] != net:
        raise InvalidInput(f"A model of {bundle.template} works on images, not on embeddings.")
    with safe_open(folder / "model.safetensors", framework="numpy") as file:
        weight, bias = file.get_tensor("head.weight"), file.get_tensor("head.bias")
    return Head(weight_KD=weight, bias_K=bias, activation=str(bundle.details["activation"]))
