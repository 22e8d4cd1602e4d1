"""What a training reads: every processed input of an app, a data set or a frozen version, and what is known of it.

Streams in order of upload with bounded memory, with the annotations that count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Table, func, select

from lehr.errors import NotFound
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.store import datasets, tables
from lehr.store.facts import KINDS
from lehr.store.rows import app_key_of

__all__ = ["Item", "Source", "count", "stream", "videos"]


_NOTES = tables.input_annotations
_COUNTING = (0, status_code_pb2.ANNOTATION_SUCCESS)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where items come from: a frozen version of a data set, a data set as it is, or (neither named) the whole app."""

    app: AppRef
    dataset_id: str = ""
    dataset_version_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One input. Its messages are parsed when first looked at."""

    input_id: str
    content_sha: str
    """Blob of the bytes."""
    input_bytes: bytes
    annotation_bytes: tuple[bytes, ...]
    """Serialised annotations, oldest first."""

    @cached_property
    def input(self) -> resources_pb2.Input:
        """The input's message."""
        message = resources_pb2.Input()
        message.MergeFromString(self.input_bytes)
        return message

    @cached_property
    def annotations(self) -> tuple[resources_pb2.Annotation, ...]:
        """The annotations' messages, oldest first: those that count. What awaits a review, say, teaches nothing yet."""
        told = (_annotation(data) for data in self.annotation_bytes)
        return tuple(each for each in told if each.status.code in _COUNTING)


def _annotation(data: bytes) -> resources_pb2.Annotation:
    message = resources_pb2.Annotation()
    message.MergeFromString(data)
    return message


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """The tables and conditions that a source comes down to."""

    inputs: Table
    origin: FromClause
    """`inputs`, or a join with it."""
    number: Any
    """Column that names an input in both tables, and by which the origin is read in order."""
    wanted: tuple[ColumnElement[bool], ...]
    annotations: Table
    noted: tuple[ColumnElement[bool], ...] = ()


def videos(tx: Connection, source: Source) -> Iterator[Item]:
    """Those of `stream` that are videos. Frozen inputs are looked at one by one, others found by their kind."""
    if source.dataset_version_id:
        yield from (item for item in stream(tx, source) if item.input.data.HasField("video"))
        return
    rows = _rows(tx, source)
    yield from _streamed(tx, replace(rows, wanted=(*rows.wanted, tables.inputs.c.kind == KINDS["video"])), 500)


def stream(tx: Connection, source: Source, *, batch: int = 500) -> Iterator[Item]:
    """Every processed input, in order of upload, `batch` at a time in memory. Raises NotFound for an unknown source."""
    return _streamed(tx, _rows(tx, source), batch)


def _streamed(tx: Connection, rows: _Rows, batch: int) -> Iterator[Item]:
    last = 0
    while True:
        columns = (rows.inputs.c[name] for name in ("id", "content_sha", "message"))
        query = select(rows.number.label("number"), *columns).select_from(rows.origin)
        found = tx.execute(query.where(*rows.wanted, rows.number > last).order_by(rows.number).limit(batch)).all()
        if not found:
            return
        notes = _notes(tx, rows, [row.number for row in found])
        for row in found:
            yield Item(
                input_id=row.id,
                content_sha=row.content_sha,
                input_bytes=row.message,
                annotation_bytes=tuple(notes.get(row.number, ())),
            )
        last = found[-1].number


def _notes(tx: Connection, rows: _Rows, numbers: Sequence[int]) -> Mapping[int, list[bytes]]:
    table = rows.annotations.c
    query = select(table.input_key, table.message).where(*rows.noted, table.input_key.in_(numbers))
    found: dict[int, list[bytes]] = defaultdict(list)
    for row in tx.execute(query.order_by(table.key)):
        found[row.input_key].append(row.message)
    return found


def count(tx: Connection, source: Source) -> int:
    """How many items `stream` yields."""
    rows = _rows(tx, source)
    return int(tx.execute(select(func.count()).select_from(rows.origin).where(*rows.wanted)).scalar_one())


def _rows(tx: Connection, source: Source) -> _Rows:
    if source.dataset_version_id:
        return _frozen_rows(tx, source)
    inputs, members = tables.inputs, tables.dataset_inputs
    processed = inputs.c.status_code == status_code_pb2.INPUT_DOWNLOAD_SUCCESS
    if not source.dataset_id:
        of_app = inputs.c.app_key == app_key_of(tx, source.app)
        return _Rows(inputs=inputs, origin=inputs, number=inputs.c.key, wanted=(of_app, processed), annotations=_NOTES)
    of_dataset = members.c.dataset_key == datasets.key_of(tx, source.app, source.dataset_id)
    joined = members.join(inputs, inputs.c.key == members.c.input_key)
    number = members.c.input_key
    return _Rows(inputs=inputs, origin=joined, number=number, wanted=(of_dataset, processed), annotations=_NOTES)


def _frozen_rows(tx: Connection, source: Source) -> _Rows:
    frozen, notes = tables.frozen_inputs, tables.frozen_annotations
    dataset = datasets.key_of(tx, source.app, source.dataset_id)
    versions = tables.dataset_versions.c
    query = select(versions.key).where(versions.dataset_key == dataset, versions.id == source.dataset_version_id)
    key = tx.execute(query).scalar()
    if key is None:
        raise NotFound(f"there is no version {source.dataset_version_id!r} of dataset {source.dataset_id!r}")
    processed = frozen.c.status_code == status_code_pb2.INPUT_DOWNLOAD_SUCCESS
    return _Rows(
        inputs=frozen,
        origin=frozen,
        number=frozen.c.input_key,
        wanted=(frozen.c.dataset_version_key == key, processed),
        annotations=notes,
        noted=(notes.c.dataset_version_key == key,),
    )
