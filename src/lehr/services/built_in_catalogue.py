"""What everybody finds under `clarifai/main`: models and workflows, under which ids. Data only; see built_in.py.

The ids are those that published clients and examples send. The models are Lehr's own: all of them stand on the weights
that come with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lehr.protocol.structs import Plain

CONCEPTS, EMBEDDING, CLUSTERS = "general-image-recognition", "general-image-embedding", "general-clusterering"


@dataclass(frozen=True, kw_only=True)
class BuiltInModel:
    """One model with its one version."""

    id: str
    name: str
    model_type_id: str
    version_id: str
    description: str
    legacy_ids: tuple[str, ...] = ()
    """Ids of the same model that older clients send."""
    legacy_versions: tuple[str, ...] = ()
    params: Mapping[str, Plain] = field(default_factory=dict)
    """`output_info.params` of its version."""


@dataclass(frozen=True, kw_only=True)
class BuiltInNode:
    """One node of a built-in workflow, with the nodes whose output it takes."""

    id: str
    model_id: str
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BuiltInWorkflow:
    """One workflow with its one version."""

    id: str
    version_id: str
    description: str
    nodes: tuple[BuiltInNode, ...] = ()


def _crop(percent: int, version_id: str) -> BuiltInModel:
    return BuiltInModel(
        id=f"margin-{percent}-image-crop",
        name=f"margin-{percent}-image-crop",
        model_type_id="image-crop",
        version_id=version_id,
        description=f"Cuts each region out of its image, with {percent} % of the region's height and width.",
        params={"margin": percent / 100},
    )


MODELS: tuple[BuiltInModel, ...] = (
    BuiltInModel(
        id=CONCEPTS,
        name="Image Recognition",
        model_type_id="visual-classifier",
        version_id="aa7f35c01e0642fda5cf400f543e7c40",
        description="The 1000 concepts of ImageNet, by EfficientNet-Lite0; the values of one image add up to 1.",
        legacy_ids=("aaa03c23b3724a16a56b629203edc62c", "general-v1.3"),
    ),
    BuiltInModel(
        id=EMBEDDING,
        name="Image Embedding",
        model_type_id="visual-embedder",
        version_id="bb186755eda04f9cbb6fe32e816be104",
        description="1280 numbers per image, of length 1, from EfficientNet-Lite0 trained on ImageNet.",
        legacy_ids=("bbb5f41425b8468d9b7a554ff10f8581",),
        legacy_versions=("bb7ac05c86be42d38b67bc473d33",),
    ),
    BuiltInModel(
        id=CLUSTERS,
        name="General Clustering",
        model_type_id="clusterer",
        version_id="cc2074cff6dc4c02b6f4e1b8606dcb54",
        description="32 kinds of image, found in what EfficientNet-Lite0 knows of ImageNet's 1000 concepts.",
        legacy_ids=("cccbe437d6e54e2bb911c6aa292fb072", "general-clustering"),
    ),
    _crop(100, "c0de100c4a5b4f6e8d7c9b0a1f2e3d4c"),
    _crop(110, "c0de110c4a5b4f6e8d7c9b0a1f2e3d4c"),
    _crop(130, "c0de130c4a5b4f6e8d7c9b0a1f2e3d4c"),
    _crop(150, "c0de150c4a5b4f6e8d7c9b0a1f2e3d4c"),
)

EMPTY = "Empty"
WORKFLOWS: tuple[BuiltInWorkflow, ...] = (
    BuiltInWorkflow(
        id=EMPTY,
        version_id="0e0000000000400080000000000e0001",
        description="Does nothing: inputs of an app on it are stored, but not embedded.",
    ),
    BuiltInWorkflow(
        id="General",
        version_id="9e0000000000400080000000000e0001",
        description="Concepts, an embedding and a cluster for every image.",
        nodes=(
            BuiltInNode(id="general-v1.5-concept", model_id=CONCEPTS),
            BuiltInNode(id="general-v1.5-embed", model_id=EMBEDDING),
            BuiltInNode(id="general-v1.5-cluster", model_id=CLUSTERS, inputs=("general-v1.5-embed",)),
        ),
    ),
    BuiltInWorkflow(
        id="Universal",
        version_id="4e0000000000400080000000000e0001",
        description="An embedding and a cluster for every image.",
        nodes=(
            BuiltInNode(id="clip-embed", model_id=EMBEDDING),
            BuiltInNode(id="clip-cluster", model_id=CLUSTERS, inputs=("clip-embed",)),
        ),
    ),
)

BY_MODEL_ID: Mapping[str, BuiltInModel] = {
    model_id: model for model in MODELS for model_id in (model.id, *model.legacy_ids)
}
"""Every id under which a built-in model is asked for."""
LEGACY_IDS = frozenset(legacy for model in MODELS for legacy in model.legacy_ids)
"""Of no model but these."""
BY_WORKFLOW_ID: Mapping[str, BuiltInWorkflow] = {workflow.id: workflow for workflow in WORKFLOWS}

WITH_BUNDLE = (CONCEPTS, EMBEDDING, CLUSTERS)
"""Those that are computed from weights and need a bundle; the others are plain operations."""
