"""What searches look up beside the messages: kinds, traits, concepts, places, and terms of metadata.

Written in the transaction that writes the message. Decides nothing about which facts a search asks for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntFlag
from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection, Table, delete, insert

from lehr.protocol import resources_pb2
from lehr.protocol.structs import from_struct
from lehr.store import tables
from lehr.store.containment import terms_of
from lehr.store.times import micros

__all__ = [
    "KINDS",
    "TOO_MANY",
    "NotedAnnotation",
    "Trait",
    "annotation_columns",
    "hashed",
    "input_columns",
    "note_annotations",
    "note_inputs",
    "on_sphere",
    "traits_of_data",
]

KINDS = {"image": 1, "video": 2, "audio": 3, "text": 4}
"""Numbers of the kinds of input; 0 is none."""
MAX_TERMS = 200
"""Terms kept of one message; of one that has more only `TOO_MANY` is kept, and a search reads it."""
TOO_MANY = "\0too many"
PARTS = ("regions", "frames", "tracks", "time_segments")


class Trait(IntFlag):
    """What an annotation is and speaks of."""

    INPUT_LEVEL = 1
    TRUSTED = 2
    PART = 4
    """Of a part of the input only: a region, a frame, a track, a stretch of time."""
    FRAME = 8
    BOX = 16
    MASK = 32
    POINT = 64
    POLYGON = 128
    SPAN = 256
    TIME_SEGMENT = 512
    TEXT = 1024


_SHAPES = {
    "bounding_box": Trait.BOX,
    "mask": Trait.MASK,
    "point": Trait.POINT,
    "polygon": Trait.POLYGON,
    "span": Trait.SPAN,
}
_CHUNK = 500


@dataclass(frozen=True, kw_only=True)
class NotedAnnotation:
    """An annotation with the keys of its row."""

    key: int
    input_key: int
    message: resources_pb2.Annotation


def input_columns(message: resources_pb2.Input) -> dict[str, Any]:
    """The columns of an input that searches filter by."""
    kind = next((number for name, number in KINDS.items() if message.data.HasField(name)), 0)
    return {"kind": kind, "created_at": micros(message.created_at), "modified_at": micros(message.modified_at)}


def annotation_columns(message: resources_pb2.Annotation) -> dict[str, Any]:
    """The columns of an annotation that searches filter by."""
    return {
        "traits": int(_traits(message)),
        "created_at": micros(message.created_at),
        "modified_at": micros(message.modified_at),
    }


def _traits(message: resources_pb2.Annotation) -> Trait:
    traits = Trait.INPUT_LEVEL if message.input_level else Trait(0)
    traits |= Trait.TRUSTED if message.trusted else Trait(0)
    return traits | traits_of_data(message.data)


def traits_of_data(data: resources_pb2.Data) -> Trait:
    """What the data, at whatever depth, speaks of."""
    traits = Trait.TEXT if data.HasField("text") else Trait(0)
    for part, trait in zip(PARTS, (Trait(0), Trait.FRAME, Trait(0), Trait.TIME_SEGMENT), strict=True):
        for entry in getattr(data, part):
            traits |= Trait.PART | trait | traits_of_data(entry.data)
    for region in data.regions:
        for name, shape in _SHAPES.items():
            traits |= shape if region.region_info.HasField(name) else Trait(0)
    return traits


def hashed(app: int, scope: str, term: str) -> int:
    """A term of an app's messages as the number that stands for it."""
    digest = blake2b(f"{app}\0{scope}\0{term}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def on_sphere(latitude: float, longitude: float) -> tuple[float, float, float]:
    """The place on a sphere of radius 1: straight distances there need no trigonometry in SQL."""
    phi, theta = math.radians(latitude), math.radians(longitude)
    return math.cos(phi) * math.cos(theta), math.cos(phi) * math.sin(theta), math.sin(phi)


# -- inputs ------------------------------------------------------------------------------------------------------------


def note_inputs(tx: Connection, app: int, noted: Mapping[int, resources_pb2.Input], *, are_new: bool) -> None:
    """Writes what searches look up of these inputs (key → message) anew."""
    own = tables.geo_points.c.annotation_key.is_(None)
    if not are_new:
        _forget(tx, tables.input_terms, "input_key", noted)
        for some in _chunks(list(noted)):
            tx.execute(delete(tables.geo_points).where(tables.geo_points.c.input_key.in_(some), own))
    terms = [
        {"term": term, "input_key": key}
        for key, message in noted.items()
        for term in _kept(app, {"data": from_struct(message.data.metadata)})
    ]
    places = [
        {"app_key": app, "input_key": key, "annotation_key": None, **_place(message.data)}
        for key, message in noted.items()
        if message.data.geo.HasField("geo_point")
    ]
    _insert(tx, tables.input_terms, terms)
    _insert(tx, tables.geo_points, places)


# -- annotations -------------------------------------------------------------------------------------------------------


def note_annotations(tx: Connection, app: int, noted: Sequence[NotedAnnotation], *, are_new: bool) -> None:
    """Writes what searches look up of these annotations anew."""
    if not are_new:
        keys = [each.key for each in noted]
        for table in (tables.annotation_concepts, tables.annotation_terms, tables.geo_points):
            _forget(tx, table, "annotation_key", keys)
    owners = [(each, {"annotation_key": each.key, "input_key": each.input_key}) for each in noted]
    concepts = [
        {"app_key": app, "concept_id": concept_id, "is_positive": is_positive, **owner}
        for each, owner in owners
        for concept_id, is_positive in sorted({(label.id, label.value >= 0.5) for label in _labels(each.message.data)})
    ]
    terms = [{"term": term, **owner} for each, owner in owners for term in _kept(app, _scopes(each.message))]
    places = [
        {"app_key": app, **owner, **_place(each.message.data)}
        for each, owner in owners
        if each.message.data.geo.HasField("geo_point")
    ]
    _insert(tx, tables.annotation_concepts, concepts)
    _insert(tx, tables.annotation_terms, terms)
    _insert(tx, tables.geo_points, places)


def _labels(data: resources_pb2.Data) -> Iterator[resources_pb2.Concept]:
    yield from data.concepts
    for part in PARTS:
        for entry in getattr(data, part):
            yield from _labels(entry.data)


def _scopes(message: resources_pb2.Annotation) -> dict[str, Any]:
    """What free-form things an annotation holds, by where it holds them."""
    scopes: dict[str, Any] = {
        "data": from_struct(message.data.metadata),
        "info": from_struct(message.annotation_info),
        "tracks": {name: None for name in _track_ids(message.data)},
        "clusters": {cluster.id: None for cluster in message.data.clusters},
    }
    if message.worker.HasField("workflow"):
        scopes["workflow"] = {message.worker.workflow.version.id: None}
    return scopes


def _track_ids(data: resources_pb2.Data) -> Iterator[str]:
    yield from (region.track_id for region in data.regions if region.track_id)
    yield from (track.id for track in data.tracks)
    for part in ("frames", "tracks", "time_segments"):
        for entry in getattr(data, part):
            yield from _track_ids(entry.data)


def _kept(app: int, scopes: Mapping[str, Any]) -> Iterator[int]:
    for scope, value in scopes.items():
        if value:
            terms = terms_of(value)
            yield from {hashed(app, scope, term) for term in (terms if len(terms) <= MAX_TERMS else {TOO_MANY})}


def _place(data: resources_pb2.Data) -> dict[str, float]:
    point = data.geo.geo_point
    x, y, z = on_sphere(point.latitude, point.longitude)
    return {"latitude": point.latitude, "longitude": point.longitude, "x": x, "y": y, "z": z}


def _forget(tx: Connection, table: Table, column: str, keys: Iterable[int]) -> None:
    for some in _chunks(list(keys)):
        tx.execute(delete(table).where(table.c[column].in_(some)))


def _insert(tx: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        tx.execute(insert(table), list(rows))


def _chunks(items: Sequence[int]) -> Iterator[Sequence[int]]:
    return (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))
