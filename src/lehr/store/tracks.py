"""Annotation tracks: one thing followed through a video. Ids are unique within the app."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, select

from lehr.errors import NotFound
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store.rows import Noun, app_key, app_key_of
from lehr.store.tables import annotation_tracks as table
from lehr.store.tables import inputs
from lehr.store.times import stamp

__all__ = ["delete", "get_many", "insert", "page", "update"]

_TRACKS = Noun(
    table=table, message=resources_pb2.AnnotationTrack, columns=lambda track: {"id": track.id}, what="annotation track"
)


def _of(ref: AppRef, input_id: str) -> ColumnElement[bool]:
    """Of the app; where an input is named, of that one."""
    if not input_id:
        return table.c.app_key == app_key(ref)
    return table.c.input_key.in_(select(inputs.c.key).where(inputs.c.app_key == app_key(ref), inputs.c.id == input_id))


def insert(tx: Connection, ref: AppRef, input_id: str, tracks: Sequence[resources_pb2.AnnotationTrack]) -> None:
    """All or none. Raises Duplicate, and NotFound for an unknown input."""
    key = tx.execute(select(inputs.c.key).where(inputs.c.app_key == app_key(ref), inputs.c.id == input_id)).scalar()
    if key is None:
        raise NotFound(f"there is no input {input_id!r} in app {ref.app_id!r}")
    owner = app_key_of(tx, ref)
    for track in tracks:
        stamp(track)
    _TRACKS.insert_rows(tx, [{"app_key": owner, "input_key": key, **_TRACKS.row(track)} for track in tracks])


def get_many(
    tx: Connection, ref: AppRef, ids: Sequence[str], *, input_id: str = ""
) -> dict[str, resources_pb2.AnnotationTrack]:
    """Those of the ids that exist; of one input alone where it is named."""
    return _TRACKS.by_id(tx, ids, _of(ref, input_id), table.c.app_key == app_key(ref))


def page(
    tx: Connection, ref: AppRef, input_id: str, *, ids: Sequence[str] = (), page: int, per_page: int
) -> list[resources_pb2.AnnotationTrack]:
    """The tracks of an input, oldest first; only these ids where there are any."""
    where = [_of(ref, input_id), *([table.c.id.in_(list(ids))] if ids else [])]
    return _TRACKS.page(tx, *where, page=page, per_page=per_page)


def update(tx: Connection, ref: AppRef, tracks: Sequence[resources_pb2.AnnotationTrack]) -> None:
    """Writes the whole messages. Raises NotFound."""
    for track in tracks:
        _TRACKS.update(tx, track, table.c.app_key == app_key(ref), table.c.id == track.id)


def delete(tx: Connection, ref: AppRef, ids: Sequence[str]) -> int:
    """How many went."""
    return _TRACKS.delete(tx, table.c.app_key == app_key(ref), table.c.id.in_(list(ids)))
