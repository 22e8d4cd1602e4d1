"""The models that come with Lehr, as folders like those of trained ones: made from the weights in the package.

Their CPU form is compared with torch on windows of two real photographs, as a trained model's is on held-out items.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from lehr.learn.bundle import FORMAT, Bundle, ExportedCrops, read_bundle, serving_form, versions, whole, write_weights
from lehr.learn.clusters import Clusters, clusters_of, write_clusters
from lehr.learn.layouts import BUILT_IN_TEMPLATE
from lehr.learn.preprocessing import Preprocessing
from lehr.learn.weights import BUILT_IN, built_in_tensors, find_weights

PREPROCESSING = Preprocessing(image_size=256, side=224)
NUM_CLUSTERS = 32
_BACKBONE = {"backbone": "efficientnet_lite0", "options": {"image_size": PREPROCESSING.side}}
_HEAD = ("classifier.weight", "classifier.bias")
_WINDOWS = 8
"""Per photograph; each also mirrored."""


def write_classifier(concepts: Sequence[str], folder: Path) -> Bundle:
    """ImageNet's concepts, named as the caller wants; the folder must not exist before."""
    import torch

    from lehr.learn.nets.catalogue import build

    arguments = {**_BACKBONE, "num_concepts": len(concepts)}
    net = build("classifier", arguments)
    tensors = built_in_tensors()
    net.base.load_published(tensors)  # type: ignore[operator, union-attr]
    with torch.no_grad():
        net.head.weight.copy_(tensors[_HEAD[0]])  # type: ignore[operator, union-attr]
        net.head.bias.copy_(tensors[_HEAD[1]])  # type: ignore[operator, union-attr]
    facts = {"net": {"name": "classifier", "arguments": arguments}, "output": "probabilities", "activation": "softmax"}
    return _write(net, {**facts, "concepts": list(concepts)}, folder)


def write_embedder(folder: Path) -> Bundle:
    """1280 numbers of length 1 per picture; the folder must not exist before."""
    from lehr.learn.nets.catalogue import build

    arguments = {**_BACKBONE, "num_concepts": 1}
    net = build("embedder", arguments)
    net.base.load_published(built_in_tensors())  # type: ignore[operator, union-attr]
    facts = {"net": {"name": "embedder", "arguments": arguments}, "output": "embedding", "activation": "none"}
    return _write(net, {**facts, "concepts": []}, folder)


def write_clusterer(folder: Path) -> Bundle:
    """Kinds of picture for the embedder above, found without any picture; the folder must not exist before.

    What the classifier looks for in each concept is a direction among embeddings; k-means puts like ones together.
    """
    return write_clusters(_clusters_of_concepts(), {"coarse_clusters": NUM_CLUSTERS, "seed": 0}, folder)


def _clusters_of_concepts() -> Clusters:
    from sklearn.cluster import KMeans

    weight_KD = built_in_tensors()[_HEAD[0]].numpy().astype(np.float64)
    directions_KD = _unit(weight_KD - weight_KD.mean(axis=0))
    means = KMeans(n_clusters=NUM_CLUSTERS, random_state=0, n_init=4).fit(directions_KD)
    counts = np.bincount(means.labels_, minlength=NUM_CLUSTERS)
    order = np.argsort(-counts, kind="stable")
    return clusters_of(_unit(means.cluster_centers_)[order].astype(np.float32), counts[order])


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _write(net: Any, facts: Mapping[str, Any], folder: Path) -> Bundle:
    from lehr.learn.serving_net import ServingNet

    _, provenance = find_weights(BUILT_IN)
    details = {
        "format": FORMAT,
        "template": BUILT_IN_TEMPLATE,
        "form": {},
        **facts,
        "preprocessing": PREPROCESSING.to_json(),
        "thresholds": {},
        "metrics": {},
        "history": [],
        "pretrained": asdict(provenance),
        "warnings": [],
        "versions": versions(),
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with whole(folder) as partial:
        write_weights(net, partial)
        exported = ExportedCrops(
            net=ServingNet(net, PREPROCESSING, facts["activation"]),
            before=PREPROCESSING,
            pictures=_pictures(),
            folder=partial,
        )
        details["serving"] = serving_form(exported, partial)
        (partial / "model.json").write_text(json.dumps(details, indent=1))
    return read_bundle(folder)


def _pictures() -> list[np.ndarray]:
    """uint8 [2, side, side, 3] each: windows of scikit-learn's two photographs, and their mirror images."""
    from sklearn.datasets import load_sample_images

    generator, side = np.random.default_rng(0), PREPROCESSING.side
    pictures = []
    for photo in load_sample_images().images:
        for _ in range(_WINDOWS):
            top, left = (int(generator.integers(0, size - side + 1)) for size in photo.shape[:2])
            window = photo[top : top + side, left : left + side]
            pictures.append(np.stack([window, window[:, ::-1]]))
    return pictures
