"""What a search asks of inputs and annotations: filters as they were read. Knows no SQL and no public message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lehr.protocol.structs import Plain
from lehr.store.facts import Trait

__all__ = ["Asked", "Box", "Condition", "OfAnnotation", "OfInput", "Place", "Within"]


@dataclass(frozen=True, kw_only=True)
class Within:
    """Nearer than `radians` of a great circle to a place."""

    latitude: float
    longitude: float
    radians: float


@dataclass(frozen=True, kw_only=True)
class Box:
    """Between two latitudes and two longitudes, edges included."""

    south: float
    north: float
    west: float
    east: float


Place = Within | Box
NONE = Trait(0)
Labels = tuple[tuple[str, bool], ...]
"""(concept id, whether positive): one of them is enough."""


@dataclass(frozen=True, kw_only=True)
class OfAnnotation:
    """All of what one and the same annotation must have; None and empty ask for nothing.

    What an input itself says of the whole of it (metadata, geo) counts as being said by each of its annotations too,
    and stands for an input-level annotation where the input has none.
    """

    labels: Labels | None = None
    metadata: Mapping[str, Plain] | None = None
    """One of its fields is enough."""
    info: Mapping[str, Plain] | None = None
    place: Place | None = None
    id: str = ""
    input_id: str = ""
    url: str = ""
    """Of the input."""
    user_id: str = ""
    model_version_id: str | None = None
    """"" asks for people's annotations."""
    workflow_version_id: str = ""
    task_id: str = ""
    track_id: str = ""
    cluster_id: str = ""
    status_code: int = 0
    has: Trait = NONE
    has_not: Trait = NONE
    since: int | None = None
    """Last changed then or later, µs since 1970."""
    until: int | None = None


@dataclass(frozen=True, kw_only=True)
class OfInput:
    """All of what an input must have."""

    kinds: tuple[int, ...] = ()
    """One of these, or one of the status codes, is enough."""
    status_codes: tuple[int, ...] = ()
    dataset_ids: tuple[str, ...] = ()
    """One of them is enough."""
    id: str = ""
    url: str = ""
    labels: Labels | None = None
    metadata: Mapping[str, Plain] | None = None
    place: Place | None = None


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One filter: both parts must hold, or with `is_negated` not both."""

    annotation: OfAnnotation | None = None
    input: OfInput | None = None
    is_negated: bool = False


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a search is narrowed to: every condition must hold, of what had been made by `as_of` (µs since 1970)."""

    conditions: tuple[Condition, ...] = ()
    as_of: int | None = None
