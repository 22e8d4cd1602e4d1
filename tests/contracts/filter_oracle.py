"""Which inputs and annotations pass a search's filters, told from the messages alone, one by one: slow and plain."""

from __future__ import annotations

import math
from typing import Any

from lehr.protocol import resources_pb2
from lehr.protocol.structs import from_struct

PARTS = ("regions", "frames", "tracks", "time_segments")
KINDS = ("image", "video", "audio", "text")
KM = {"withinKilometers": 1.0, "withinMiles": 1.609344, "withinDegrees": 111.19508, "withinRadians": 6371.0088}


class World:
    """An app: its messages, which data sets the inputs are in, and what its concepts are called."""

    def __init__(self) -> None:
        self.inputs: dict[str, resources_pb2.Input] = {}
        self.annotations: list[resources_pb2.Annotation] = []
        self.datasets: dict[str, set[str]] = {}
        self.names: dict[str, str] = {}

    def inputs_of(self, search: resources_pb2.Search) -> list[str]:
        return [
            each.id for each in self.inputs.values() if self._is_in_time(search, each) and self._finds(search, each)
        ]

    def _finds(self, search, input_) -> bool:
        notes = [a for a in self.annotations if a.input_id == input_.id and self._is_in_time(search, a)]
        for wanted in search.query.filters:
            passes = any(self._says(wanted, note, input_) for note in [*notes, None])
            if (passes and self._is(wanted.input, input_)) == wanted.negate:
                return False
        return True

    def annotations_of(self, search: resources_pb2.Search) -> list[tuple[str, str]]:
        return [
            (note.input_id, note.id)
            for note in self.annotations
            if self._is_in_time(search, note)
            and all(self._passes(wanted, note) != wanted.negate for wanted in search.query.filters)
        ]

    def _passes(self, wanted, note) -> bool:
        input_ = self.inputs[note.input_id]
        return self._says(wanted, note, input_) and self._is(wanted.input, input_)

    @staticmethod
    def _is_in_time(search, message) -> bool:
        return not search.HasField("as_of") or message.created_at.ToNanoseconds() <= search.as_of.ToNanoseconds()

    # -- annotations; None stands for what the input says by itself

    def _says(self, filter_, note, input_) -> bool:
        wanted, data = filter_.annotation, filter_.annotation.data
        said = note if note is not None else resources_pb2.Annotation(input_level=True)
        if note is None:
            said.modified_at.CopyFrom(input_.modified_at)
        checks = [
            not wanted.id or said.id == wanted.id,
            not wanted.input_id or input_.id == wanted.input_id,
            not wanted.user_id or said.user_id == wanted.user_id,
            not wanted.task_id or said.task_id == wanted.task_id,
            not wanted.model_version_id or said.model_version_id == wanted.model_version_id,
            not wanted.status.code or said.status.code == wanted.status.code,
            not wanted.input_level or said.input_level,
            not wanted.trusted or said.trusted,
            not data.concepts or self._carries(data.concepts, [said]),
            not wanted.HasField("annotation_info") or holds(said.annotation_info, wanted.annotation_info),
            not data.metadata.fields
            or holds_any(said.data.metadata, data.metadata)
            or holds_any(input_.data.metadata, data.metadata),
            not data.HasField("geo") or is_at(said.data, data.geo) or is_at(input_.data, data.geo),
            not data.HasField("image") or url_of(input_) == data.image.url,
            self._has_parts(wanted, note),
            self._is_between(filter_, said),
        ]
        return all(checks)

    @staticmethod
    def _has_parts(wanted, note) -> bool:
        if wanted.HasField("data") and not wanted.data.ListFields():
            return note is not None and not any(getattr(note.data, part) for part in PARTS)
        have = note.data if note is not None else resources_pb2.Data()
        mine = list(regions(have))
        boxed = any(region.region_info.HasField("bounding_box") for region in mine)
        tracks = {region.track_id for region in mine}
        for region in wanted.data.regions:
            if region.region_info.HasField("bounding_box") and not boxed:
                return False
            if not (mine or have.frames) or (region.track_id and region.track_id not in tracks):
                return False
        return (not wanted.data.frames or bool(have.frames)) and (
            not wanted.data.HasField("text")
            or have.HasField("text")
            or any(each.data.HasField("text") for each in mine)
        )

    @staticmethod
    def _is_between(filter_, said) -> bool:
        bounds, at = filter_.last_updated_time_range, said.modified_at.ToNanoseconds()
        if bounds.HasField("start_time") and at < bounds.start_time.ToNanoseconds():
            return False
        return not bounds.HasField("end_time") or at <= bounds.end_time.ToNanoseconds()

    def _carries(self, wanted, notes) -> bool:
        have = {(label.id, label.value >= 0.5) for note in notes for label in labels(note.data)}
        for concept in wanted:
            ids = {concept.id} if concept.id else {concept.name}
            if not concept.id:
                ids |= {id_ for id_, name in self.names.items() if name == concept.name}
            if any((id_, concept.value >= 0.5) in have for id_ in ids):
                return True
        return False

    # -- inputs

    def _is(self, wanted, input_) -> bool:
        data = wanted.data
        either = [input_.data.HasField(kind) for kind in KINDS if data.HasField(kind) and not getattr(data, kind).url]
        either += [input_.status.code == wanted.status.code] if wanted.status.code else []
        urls = [getattr(data, kind).url for kind in KINDS if getattr(data, kind).url]
        notes = [note for note in self.annotations if note.input_id == input_.id]
        return all(
            [
                not either or any(either),
                not wanted.id or wanted.id == input_.id,
                not urls or url_of(input_) == urls[0],
                not wanted.dataset_ids
                or any(input_.id in self.datasets.get(dataset, ()) for dataset in wanted.dataset_ids),
                not data.concepts or self._carries(data.concepts, notes),
                not data.metadata.fields or holds_any(input_.data.metadata, data.metadata),
                not data.HasField("geo") or is_at(input_.data, data.geo),
            ]
        )


def labels(data):
    yield from data.concepts
    for part in PARTS:
        for entry in getattr(data, part):
            yield from labels(entry.data)


def regions(data):
    """At whatever depth."""
    yield from data.regions
    for part in PARTS:
        for entry in getattr(data, part):
            yield from regions(entry.data)


def url_of(input_) -> str:
    return next((url for kind in KINDS if (url := getattr(input_.data, kind).url)), "")


def holds_any(have, want) -> bool:
    mine = from_struct(have)
    return any(name in mine and includes(mine[name], value) for name, value in from_struct(want).items())


def holds(have, want) -> bool:
    return includes(from_struct(have), from_struct(want))


def includes(have: Any, want: Any) -> bool:
    """As PostgreSQL's jsonb @> below the top."""
    if isinstance(want, dict):
        return isinstance(have, dict) and all(key in have and includes(have[key], want[key]) for key in want)
    if isinstance(want, list):
        return isinstance(have, list) and all(any(includes(mine, each) for mine in have) for each in want)
    return type(have) is type(want) and have == want


def is_at(data, geo) -> bool:
    if not data.geo.HasField("geo_point"):
        return False
    point = data.geo.geo_point
    if geo.geo_box:
        one, other = (corner.geo_point for corner in geo.geo_box)
        return min(one.latitude, other.latitude) <= point.latitude <= max(one.latitude, other.latitude) and min(
            one.longitude, other.longitude
        ) <= point.longitude <= max(one.longitude, other.longitude)
    return kilometres(point, geo.geo_point) <= geo.geo_limit.value * KM[geo.geo_limit.type]


def kilometres(one, other) -> float:
    """Haversine."""
    lat1, lon1, lat2, lon2 = map(math.radians, (one.latitude, one.longitude, other.latitude, other.longitude))
    part = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * 6371.0088 * math.asin(math.sqrt(min(1.0, part)))
