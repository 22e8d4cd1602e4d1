"""What a label may say: concepts of a whole input, or of boxes, polygons, points, frames and stretches of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from lehr.errors import InvalidAnnotation, InvalidConcept
from lehr.protocol import resources_pb2
from lehr.protocol.ids import new_id
from lehr.services.concepts import checked_concept_id

PARTS = ("regions", "frames", "tracks", "time_segments")
"""Fields of Data that speak of a part of an input."""
MAX_BYTES = 4 * 2**20
"""Bytes of one annotation."""

_KEPT = frozenset({"concepts", "metadata", "geo", "text", *PARTS})
_SLACK = 1e-5
"""Clients compute with 32-bit floats: 1.0000001 is the edge, not outside."""


def cleaned(data: resources_pb2.Data) -> None:
    """Makes data fit to be kept, in place: checks it, drops what no label says (bytes, embeddings, …), names regions.

    Raises InvalidAnnotation or InvalidConcept with a sentence.
    """
    _clean(data, "data")
    if data.ByteSize() > MAX_BYTES:
        raise InvalidAnnotation(f"Annotation has {data.ByteSize()} bytes; at most {MAX_BYTES} are kept.")


def labels_in(data: resources_pb2.Data) -> Iterator[resources_pb2.Concept]:
    """Every concept label in the data, at whatever depth; they may be changed in place."""
    yield from data.concepts
    for part in PARTS:
        for entry in getattr(data, part):
            yield from labels_in(entry.data)


def _clean(data: resources_pb2.Data, where: str) -> None:
    for field, _ in data.ListFields():
        if field.name not in _KEPT:
            data.ClearField(field.name)
    if data.HasField("text"):
        data.text.CopyFrom(resources_pb2.Text(raw=data.text.raw))
    for label in data.concepts:
        _clean_label(label)
    for part in PARTS:
        for number, entry in enumerate(getattr(data, part)):
            here = f"{where}.{part}[{number}]"
            if part == "regions":
                _check_shape(entry.region_info, f"{here}.region_info")
            entry.id = entry.id or new_id()
            if entry.HasField("data"):
                _clean(entry.data, f"{here}.data")


def _clean_label(label: resources_pb2.Concept) -> None:
    if label.id or not label.name:
        checked_concept_id(label.id)
    if not math.isfinite(label.value):
        raise InvalidConcept(f"Concept {label.id or label.name!r} has the value {label.value}; it must be a number.")
    label.CopyFrom(resources_pb2.Concept(id=label.id, name=label.name, value=label.value))


def _check_shape(info: resources_pb2.RegionInfo, where: str) -> None:
    if info.HasField("mask"):
        raise InvalidAnnotation(f"{where}.mask: masks are not kept yet; send the outline as a polygon.")
    if info.HasField("bounding_box"):
        _check_box(info.bounding_box, f"{where}.bounding_box")
    if info.HasField("polygon"):
        if len(info.polygon.points) < 3:
            raise InvalidAnnotation(f"{where}.polygon has {len(info.polygon.points)} points; it needs at least 3.")
        for point in info.polygon.points:
            _check_inside(point, ("row", "col"), f"{where}.polygon")
    if info.HasField("point"):
        _check_inside(info.point, ("row", "col"), f"{where}.point")


def _check_box(box: resources_pb2.BoundingBox, where: str) -> None:
    _check_inside(box, ("top_row", "left_col", "bottom_row", "right_col"), where)
    if not box.top_row < box.bottom_row:
        raise InvalidAnnotation(f"{where}: top_row {box.top_row:g} must be less than bottom_row {box.bottom_row:g}.")
    if not box.left_col < box.right_col:
        raise InvalidAnnotation(f"{where}: left_col {box.left_col:g} must be less than right_col {box.right_col:g}.")


def _check_inside(shape: Any, names: tuple[str, ...], where: str) -> None:
    for name in names:
        value = getattr(shape, name)
        if not -_SLACK <= value <= 1 + _SLACK:  # also refuses NaN
            raise InvalidAnnotation(
                f"{where}.{name} is {value:g}; positions run from 0 to 1, as parts of the image's height or width."
            )
