"""Filters of searches, read: from public messages to the conditions that the store looks for.

The rules: filters are AND-ed. In one filter, the annotation part speaks of one and the same annotation; concepts are
OR-ed, and so are fields of metadata; kinds of input and input status are OR-ed with each other; all else is AND-ed.
A concept's value of 0.5 or more asks for positive labels, a smaller one for negative ones. What cannot be answered is
refused, never ignored.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message
from sqlalchemy import Connection

from lehr.errors import InvalidSearch
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.structs import from_struct
from lehr.store import concepts as concept_rows
from lehr.store.conditions import Asked, Box, Condition, Labels, OfAnnotation, OfInput, Place, Within
from lehr.store.facts import KINDS, Trait, traits_of_data
from lehr.store.times import micros

MAX_FILTERS = 64
MAX_CONCEPTS = 1000
"""Concepts in one filter."""
EARTH_KILOMETERS = 6371.0088
"""Mean radius."""
LIMITS = {
    "withinKilometers": 1 / EARTH_KILOMETERS,
    "withinMiles": 1.609344 / EARTH_KILOMETERS,
    "withinDegrees": math.pi / 180,
    "withinRadians": 1.0,
}
"""Type of a geo limit → radians of a great circle that one of it is."""

_OF_ANNOTATION = frozenset(
    {"id", "input_id", "data", "annotation_info", "user_id", "model_version_id", "task_id", "worker"}
    | {"status", "trusted", "input_level"}
)
_OF_INPUT = frozenset({"id", "data", "dataset_ids", "status"})
_FACTS = frozenset({"concepts", "metadata", "geo"})
_PARTS = frozenset({"regions", "frames", "tracks", "time_segments", "text"})
_OF_DATA = _FACTS | _PARTS | {"image", "video", "audio"}
_OF_NOTE = (_OF_DATA - {"video", "audio"}) | {"clusters"}


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Reads filters of one app, in one transaction: names of concepts are looked up."""

    tx: Connection
    ref: AppRef

    def asked(self, search: resources_pb2.Search, where: str = "search") -> Asked:
        """All that the search's query filters by. Raises InvalidSearch naming the first thing that cannot be asked."""
        query = search.query
        if len(query.filters) + len(query.ands) > MAX_FILTERS:
            raise InvalidSearch(
                f"{where}.query has {len(query.filters) + len(query.ands)} filters; at most {MAX_FILTERS} are possible."
            )
        read = [self._filter(each, f"{where}.query.filters[{n}]") for n, each in enumerate(query.filters)]
        read += [self._and(each, f"{where}.query.ands[{n}]") for n, each in enumerate(query.ands)]
        as_of = micros(search.as_of) if search.HasField("as_of") else None
        return Asked(conditions=tuple(condition for condition in read if condition), as_of=as_of)

    def _filter(self, filter_: resources_pb2.Filter, where: str) -> Condition | None:
        annotation = self._annotation(filter_.annotation, filter_, f"{where}.annotation")
        input_ = self._input(filter_.input, f"{where}.input")
        return _condition(annotation, input_, filter_.negate, where)

    def _and(self, and_: resources_pb2.And, where: str) -> Condition | None:
        """An older query's filter; ranks among the `ands` (`output`) are none of ours."""
        annotation = self._annotation(and_.annotation, resources_pb2.Filter(), f"{where}.annotation")
        input_ = self._input(and_.input, f"{where}.input")
        if and_.HasField("output") and annotation is None and input_ is None:
            return None
        return _condition(annotation, input_, and_.negate, where)

    # -- the two parts -------------------------------------------------------------------------------------------------

    def _annotation(
        self, wanted: resources_pb2.Annotation, filter_: resources_pb2.Filter, where: str
    ) -> OfAnnotation | None:
        _only(wanted, _OF_ANNOTATION, where)
        data = wanted.data
        _only(data, _OF_NOTE, f"{where}.data")
        if data.HasField("image") and not data.image.url:
            raise InvalidSearch(f"{where}.data.image: an annotation is found by its picture's url; to rank, use ranks.")
        has, has_not = _traits(wanted, where)
        since, until = _range(filter_)
        user_id, version_id, workflow_id = _worker(wanted, f"{where}.worker")
        read = OfAnnotation(
            labels=self._labels(data.concepts, f"{where}.data.concepts"),
            metadata=from_struct(data.metadata) or None,
            info=from_struct(wanted.annotation_info) or None,
            place=_place(data, f"{where}.data.geo"),
            id=wanted.id,
            input_id=wanted.input_id,
            url=data.image.url,
            user_id=wanted.user_id or user_id,
            model_version_id=wanted.model_version_id or version_id,
            workflow_version_id=workflow_id,
            task_id=wanted.task_id,
            track_id=next(_track_ids(data), ""),
            cluster_id=next((cluster.id for cluster in data.clusters), ""),
            status_code=wanted.status.code,
            has=has,
            has_not=has_not,
            since=since,
            until=until,
        )
        return None if read == OfAnnotation() else read

    def _input(self, wanted: resources_pb2.Input, where: str) -> OfInput | None:
        _only(wanted, _OF_INPUT, where)
        data = wanted.data
        _only(data, _FACTS | set(KINDS), f"{where}.data")
        urls = [getattr(data, kind).url for kind in KINDS if getattr(data, kind).url]
        if len(urls) > 1:
            raise InvalidSearch(f"{where}.data names {len(urls)} URLs; an input has one.")
        kinds = [number for kind, number in KINDS.items() if data.HasField(kind) and not getattr(data, kind).url]
        read = OfInput(
            kinds=tuple(kinds),
            status_codes=(wanted.status.code,) if wanted.status.code else (),
            dataset_ids=tuple(wanted.dataset_ids),
            id=wanted.id,
            url="".join(urls),
            labels=self._labels(data.concepts, f"{where}.data.concepts"),
            metadata=from_struct(data.metadata) or None,
            place=_place(data, f"{where}.data.geo"),
        )
        return None if read == OfInput() else read

    def _labels(self, wanted: Sequence[resources_pb2.Concept], where: str) -> Labels | None:
        if not wanted:
            return None
        if len(wanted) > MAX_CONCEPTS:
            raise InvalidSearch(f"{where} has {len(wanted)} concepts; at most {MAX_CONCEPTS} are possible.")
        labels = ((id_, each.value >= 0.5) for each in wanted for id_ in self.concept_ids(each, where))
        return tuple(dict.fromkeys(labels))

    def concept_ids(self, wanted: resources_pb2.Concept, where: str) -> list[str]:
        """The id itself, or the ids of all concepts called so: a concept's id is its name unless it was given one."""
        if not wanted.id and not wanted.name:
            raise InvalidSearch(f"{where}: a concept is found by its id or its name; this one has neither.")
        if wanted.id:
            return [wanted.id]
        return sorted({wanted.name, *(each.id for each in concept_rows.find(self.tx, self.ref, wanted.name))})


def _condition(
    annotation: OfAnnotation | None, input_: OfInput | None, is_negated: bool, where: str
) -> Condition | None:
    """None for a filter that asks for nothing: clients send such."""
    if annotation is None and input_ is None:
        if is_negated:
            raise InvalidSearch(f"{where} is negated but asks for nothing, so nothing could pass it.")
        return None
    return Condition(annotation=annotation, input=input_, is_negated=is_negated)


def _traits(wanted: resources_pb2.Annotation, where: str) -> tuple[Trait, Trait]:
    """What the annotation must be, and must not be: empty data asks for annotations of whole inputs alone."""
    has = Trait.INPUT_LEVEL if wanted.input_level else Trait(0)
    has |= Trait.TRUSTED if wanted.trusted else Trait(0)
    if wanted.HasField("data") and not wanted.data.ListFields():
        return has, Trait.PART
    for part in _PARTS - {"text"}:
        for entry in getattr(wanted.data, part):
            if entry.HasField("data"):
                raise InvalidSearch(
                    f"{where}.data.{part}[].data cannot be filtered by; put concepts into {where}.data."
                )
    return has | traits_of_data(wanted.data), Trait(0)


def _track_ids(data: resources_pb2.Data) -> Iterator[str]:
    yield from (region.track_id for region in data.regions if region.track_id)
    yield from (track.id for track in data.tracks if track.id)


def _range(filter_: resources_pb2.Filter) -> tuple[int | None, int | None]:
    bounds = filter_.last_updated_time_range
    since = micros(bounds.start_time) if bounds.HasField("start_time") else None
    return since, micros(bounds.end_time) if bounds.HasField("end_time") else None


def _worker(wanted: resources_pb2.Annotation, where: str) -> tuple[str, str | None, str]:
    """User (of annotations that no model made), model version and workflow version."""
    worker = wanted.worker
    kind = worker.WhichOneof("worker")
    if kind == "user":
        return worker.user.id, "", ""
    version_id = worker.model.model_version.id
    workflow_id = worker.workflow.version.id
    if kind is not None and not version_id and not workflow_id:
        raise InvalidSearch(
            f"{where}: name user.id, model.model_version.id or workflow.version.id to find what a worker annotated."
        )
    return "", version_id or None, workflow_id


def _place(data: resources_pb2.Data, where: str) -> Place | None:
    geo = data.geo
    if not geo.ListFields():
        return None
    if geo.geo_box:
        if geo.HasField("geo_point") or len(geo.geo_box) != 2:
            raise InvalidSearch(
                f"{where}.geo_box needs two corners, without a geo_point; this one has {len(geo.geo_box)}."
            )
        return _box([corner.geo_point for corner in geo.geo_box], where)
    if not geo.HasField("geo_point") or not geo.HasField("geo_limit"):
        raise InvalidSearch(
            f"{where} needs a geo_point with a geo_limit (type and value), or a geo_box of two corners."
        )
    point, limit = geo.geo_point, geo.geo_limit
    _check_point(point, where)
    if limit.type not in LIMITS:
        raise InvalidSearch(f"{where}.geo_limit.type is {limit.type!r}; it is one of {', '.join(LIMITS)}.")
    if not 0 <= limit.value < math.inf:
        raise InvalidSearch(f"{where}.geo_limit.value is {limit.value:g}; it must be 0 or more.")
    radians = limit.value * LIMITS[limit.type]
    return Within(latitude=point.latitude, longitude=point.longitude, radians=radians)


def _box(corners: Sequence[resources_pb2.GeoPoint], where: str) -> Box:
    """Whichever two opposite corners were given; a box does not reach over the 180th meridian."""
    for corner in corners:
        _check_point(corner, where)
    south, north = sorted(corner.latitude for corner in corners)
    west, east = sorted(corner.longitude for corner in corners)
    return Box(south=south, north=north, west=west, east=east)


def _check_point(point: resources_pb2.GeoPoint, where: str) -> None:
    for name, limit in (("latitude", 90), ("longitude", 180)):
        value = getattr(point, name)
        if not -limit <= value <= limit:  # also refuses NaN
            raise InvalidSearch(f"{where}: {name} is {value:g}; it runs from {-limit} to {limit}.")


def _only(message: Message, known: Collection[str], where: str) -> None:
    for field, _ in message.ListFields():
        if field.name not in known:
            raise InvalidSearch(f"{where}.{field.name} cannot be filtered by; there are: {_listed(known)}.")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
