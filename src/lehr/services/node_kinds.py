"""What each model type takes and gives as a node of a workflow. One line per kind of node; decides only.

Fields are those of Data, and with `regions.` before them those of the data inside its regions. A kind that takes, say,
an image also works on regions that have one: it then gives, for each region, what it gives for a whole image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

IMAGE, EMBEDDINGS, CONCEPTS, CLUSTERS, REGIONS = "image", "embeddings", "concepts", "clusters", "regions"
OF_REGIONS = "regions."
FROM_INPUT = frozenset({IMAGE})
"""What a node without node_inputs takes, where that suits it."""
IN_INPUT = frozenset({IMAGE, REGIONS, CONCEPTS, EMBEDDINGS, "regions.concepts", "regions.embeddings"})
"""What else an input may bring with it."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of node."""

    takes: tuple[str, ...]
    """Alternatives, the best first."""
    gives: frozenset[str]
    keeps: bool = False
    """Whether what it is given goes on as well."""
    lifts: bool = True
    """Whether it works on regions too."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a node works with what it is given."""

    field: str
    """What it takes, without `regions.`."""
    per_region: bool
    gives: frozenset[str]


def _kind(takes: str, gives: str, *, keeps: bool = False, lifts: bool = True) -> Kind:
    return Kind(takes=tuple(takes.split()), gives=frozenset(gives.split()), keeps=keeps, lifts=lifts)


KINDS: Mapping[str, Kind] = {
    "visual-classifier": _kind("image", "concepts"),
    "visual-detector": _kind("image", "regions regions.concepts"),
    "visual-embedder": _kind("image", "embeddings"),
    "embedding-classifier": _kind("embeddings image", "concepts"),
    "knn-concept": _kind("embeddings image", "concepts"),
    "clusterer": _kind("embeddings image", "clusters"),
    "image-crop": _kind("regions", "regions regions.image", lifts=False),
    "image-align": _kind("regions", "regions regions.image", lifts=False),
    "image-tiling-operator": _kind("image", "regions regions.image", lifts=False),
    "concept-threshold": _kind("concepts regions.concepts", "", keeps=True, lifts=False),
    "region-thresholder": _kind("regions.concepts", "", keeps=True, lifts=False),
    "concept-synonym-mapper": _kind("concepts regions.concepts", "", keeps=True, lifts=False),
    "annotation-writer": _kind("concepts regions", "", keeps=True, lifts=False),
}
ALIASES = {"region-threshold": "region-thresholder"}


def kind_of(model_type_id: str) -> Kind | None:
    """How models of this type work as nodes; None where they cannot be nodes."""
    return KINDS.get(ALIASES.get(model_type_id, model_type_id))


def fit(kind: Kind, available: Iterable[str]) -> Fit | None:
    """How a node of this kind works with these fields; None where they do not suit it."""
    offered = frozenset(available)
    kept = offered if kind.keeps else frozenset()
    for field in kind.takes:
        if field in offered:
            return Fit(field=field, per_region=field.startswith(OF_REGIONS), gives=kind.gives | kept)
    for field in kind.takes if kind.lifts else ():
        if OF_REGIONS + field in offered:
            return Fit(field=field, per_region=True, gives=_lifted(kind.gives) | kept)
    return None


def _lifted(gives: Iterable[str]) -> frozenset[str]:
    """A detector on parts of an image gives regions of the whole image, anything else something for each region."""
    return frozenset({REGIONS, *(field if field.startswith(REGIONS) else OF_REGIONS + field for field in gives)})
