"""Clusters of embeddings: found by k-means, kept as a model folder, and looked up for new embeddings.

    model.json             as every model folder has it (bundle.py); output "clusters"
    centroids.safetensors  centroids float32 [K, D], counts int64 [K], axes float32 [2, D], middle float32 [D]

Finding needs scikit-learn, looking up only numpy. Shapes: N embeddings of length D, K clusters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lehr.errors import InvalidInput
from lehr.learn.bundle import FORMAT, Bundle, read_bundle, versions, whole
from lehr.learn.preprocessing import Preprocessing

OUTPUT = "clusters"
_FILE = "centroids.safetensors"
_BATCH, _BLOCK = 4096, 1024
_BLOCK_VALUES = 32 << 20
"""Likenesses that are looked at together: 128 MiB of them."""


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """What k-means found."""

    centroids_KD: np.ndarray
    counts_K: np.ndarray
    """Embeddings that fell into each when it was found."""
    axes_2D: np.ndarray
    """The two directions in which the centroids differ most."""
    middle_D: np.ndarray

    def nearest(self, embeddings_ND: np.ndarray) -> np.ndarray:
        """int [N]: the cluster of each embedding, by the smallest Euclidean distance. Raises InvalidInput."""
        dimensions = self.centroids_KD.shape[1]
        if embeddings_ND.shape[1] != dimensions:
            raise InvalidInput(
                f"The clusterer was made for embeddings of {dimensions} numbers; these have {embeddings_ND.shape[1]}."
            )
        halves_K = (self.centroids_KD**2).sum(axis=1) / 2
        return (embeddings_ND @ self.centroids_KD.T - halves_K).argmax(axis=1)

    def scores(self, embeddings_ND: np.ndarray, clusters_N: np.ndarray) -> np.ndarray:
        """float [N], 0 to 1: (1 + cosine) / 2 of each embedding and the centroid of its cluster."""
        chosen_ND = self.centroids_KD[clusters_N]
        norms_N = np.linalg.norm(embeddings_ND, axis=1) * np.linalg.norm(chosen_ND, axis=1)
        return (1 + (embeddings_ND * chosen_ND).sum(axis=1) / np.maximum(norms_N, 1e-12)) / 2

    def projections(self, embeddings_ND: np.ndarray) -> np.ndarray:
        """float [N, 2]: a place on the plane on which the centroids lie farthest apart."""
        return (embeddings_ND - self.middle_D) @ self.axes_2D.T


def find_clusters(embeddings_ND: np.ndarray, num_clusters: int, seed: int = 0) -> Clusters:
    """k-means in small batches (Sculley 2010), the best of three starts; the largest cluster is number 0.

    `num_clusters` is lowered to the number of different embeddings.
    """
    from sklearn.cluster import MiniBatchKMeans

    distinct = len(np.unique(embeddings_ND, axis=0))
    means = MiniBatchKMeans(
        n_clusters=min(num_clusters, distinct), random_state=seed, n_init=3, batch_size=_BATCH, reassignment_ratio=0.0
    )
    found_N = means.fit_predict(embeddings_ND)
    counts_K = np.bincount(found_N, minlength=len(means.cluster_centers_))
    order = np.argsort(-counts_K, kind="stable")
    return clusters_of(means.cluster_centers_[order].astype(np.float32), counts_K[order])


def duplicates(embeddings_ND: np.ndarray, score: float) -> np.ndarray:
    """int [N]: number of the group of near-duplicates that each embedding belongs to, -1 for none. Unit vectors.

    Two belong together if (1 + cosine) / 2 is at least `score`, or if a chain of such pairs joins them. Every pair is
    looked at, a block at a time, but only what is not yet joined is joined: thousands of copies of one take no longer.
    """
    number = len(embeddings_ND)
    parents_N = np.arange(number)
    step = max(1, min(_BLOCK, _BLOCK_VALUES // max(1, number)))
    for start in range(0, number, step):
        near = embeddings_ND[start : start + step] @ embeddings_ND[start:].T >= 2 * score - 1
        for row in np.flatnonzero(near.sum(axis=1) > 1):
            _join(parents_N, start + int(row), start + np.flatnonzero(near[row]))
    roots = np.array([_root(parents_N, index) for index in range(number)])
    _, places, counts = np.unique(roots, return_inverse=True, return_counts=True)
    numbers = np.where(counts > 1, np.cumsum(counts > 1) - 1, -1)
    return numbers[places]


def _join(parents_N: np.ndarray, row: int, others: np.ndarray) -> None:
    """Puts the others into the group of the row."""
    own = _root(parents_N, row)
    above = parents_N[others]
    for other in np.unique(above[above != own]):
        root = _root(parents_N, int(other))
        parents_N[root] = own
    parents_N[others] = own  # their roots are below `own` by now: the next rows find nothing left to do


def _root(parents_N: np.ndarray, index: int) -> int:
    while parents_N[index] != index:
        parents_N[index] = parents_N[parents_N[index]]
        index = int(parents_N[index])
    return index


def clusters_of(centroids_KD: np.ndarray, counts_K: np.ndarray) -> Clusters:
    """Clusters with these centroids, and the plane to show them on."""
    middle_D = centroids_KD.mean(axis=0)
    _, _, axes = np.linalg.svd(centroids_KD - middle_D, full_matrices=False)
    axes_2D = np.zeros((2, centroids_KD.shape[1]), np.float32)
    axes_2D[: min(2, len(axes))] = axes[:2]
    return Clusters(
        centroids_KD=centroids_KD,
        counts_K=counts_K.astype(np.int64),
        axes_2D=axes_2D,
        middle_D=middle_D.astype(np.float32),
    )


def write_clusters(clusters: Clusters, form: Mapping[str, Any], folder: Path, notices: Sequence[str] = ()) -> Bundle:
    """Writes a model folder that must not exist before."""
    from safetensors.numpy import save_file

    tensors = {
        "centroids": clusters.centroids_KD,
        "counts": clusters.counts_K,
        "axes": clusters.axes_2D,
        "middle": clusters.middle_D,
    }
    details = {
        "format": FORMAT,
        "template": "clusterer",
        "form": dict(form),
        "concepts": [],
        "net": {"name": "clusters", "arguments": {}},
        "output": OUTPUT,
        "activation": "none",
        "preprocessing": Preprocessing(image_size=1, side=1).to_json(),
        "thresholds": {},
        "metrics": {},
        "history": [],
        "pretrained": {},
        "warnings": list(notices),
        "serving": {"form": "numpy", "precision": "f32", "difference": {}},
        "versions": versions(),
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with whole(folder) as partial:
        save_file({name: np.ascontiguousarray(values) for name, values in tensors.items()}, partial / _FILE)
        (partial / "model.json").write_text(json.dumps(details, indent=1))
    return read_bundle(folder)


@lru_cache(maxsize=64)
def read_clusters(folder: Path) -> Clusters:
    """The clusters of a model folder, read once: what is in a folder never changes."""
    from safetensors.numpy import load_file

    tensors = load_file(folder / _FILE)
    return Clusters(
        centroids_KD=tensors["centroids"],
        counts_K=tensors["counts"],
        axes_2D=tensors["axes"],
        middle_D=tensors["middle"],
    )
