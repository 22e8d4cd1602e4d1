"""Uploads in parts. Each part is a blob; what came is read as the parts in their order, never copied together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update

from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store import tables
from lehr.store.rows import Noun, app_key, app_key_of, paged
from lehr.store.times import micros

__all__ = [
    "Part",
    "StoredUpload",
    "add_part",
    "delete",
    "drop_parts",
    "expired",
    "get",
    "insert",
    "missing_from",
    "overlapping",
    "page",
    "parts",
    "received",
    "update",
]

table, parts_table = tables.uploads, tables.upload_parts


def _columns(upload: resources_pb2.Upload) -> dict[str, Any]:
    return {"id": upload.id, "expires_at": micros(upload.expires_at)}


_UPLOADS = Noun(table=table, message=resources_pb2.Upload, columns=_columns, what="upload")


@dataclass(frozen=True, kw_only=True)
class StoredUpload:
    """An upload with what its message does not say."""

    app: AppRef
    key: int
    num_received: int
    message: resources_pb2.Upload


@dataclass(frozen=True, kw_only=True)
class Part:
    """Bytes `start` to `end` (exclusive) of an upload."""

    start: int
    end: int
    sha: str


def insert(tx: Connection, ref: AppRef, upload: resources_pb2.Upload) -> None:
    """Raises Duplicate."""
    _UPLOADS.insert(tx, [upload], app_key=app_key_of(tx, ref), num_received=0)


def _with_app() -> Any:
    apps = tables.apps.c
    return select(table, apps.user_id, apps.id.label("app_id")).join(tables.apps, apps.key == table.c.app_key)


def _stored(row: Any) -> StoredUpload:
    return StoredUpload(
        app=AppRef(row.user_id, row.app_id),
        key=row.key,
        num_received=row.num_received,
        message=_UPLOADS.parse(row.message),
    )


def get(tx: Connection, ref: AppRef, upload_id: str, *, lock: bool = False) -> StoredUpload | None:
    """The upload of this id; with `lock`, other writers of it wait for this transaction."""
    query = _with_app().where(table.c.app_key == app_key(ref), table.c.id == upload_id)
    row = tx.execute(query.with_for_update(of=table) if lock else query).first()
    return None if row is None else _stored(row)


def page(tx: Connection, ref: AppRef, *, page: int, per_page: int) -> list[StoredUpload]:
    """The app's uploads, newest first."""
    query = _with_app().where(table.c.app_key == app_key(ref)).order_by(table.c.key.desc())
    return [_stored(row) for row in tx.execute(paged(query, page, per_page))]


def expired(tx: Connection, before: int, *, limit: int) -> list[StoredUpload]:
    """Uploads that expired before this moment (µs since 1970)."""
    query = _with_app().where(table.c.expires_at < before).order_by(table.c.key).limit(limit)
    return [_stored(row) for row in tx.execute(query)]


def update(tx: Connection, ref: AppRef, upload: resources_pb2.Upload) -> None:
    """Writes the whole message. Raises NotFound."""
    _UPLOADS.update(tx, upload, table.c.app_key == app_key(ref), table.c.id == upload.id)


def delete(tx: Connection, ref: AppRef, ids: Iterable[str]) -> int:
    """Deletes those that exist, with their parts."""
    return _UPLOADS.delete(tx, table.c.app_key == app_key(ref), table.c.id.in_(list(ids)))


# -- parts -------------------------------------------------------------------------------------------------------------


def _part(row: Any) -> Part:
    return Part(start=row.range_start, end=row.range_end, sha=row.sha)


def parts(tx: Connection, upload_key: int) -> list[Part]:
    """All of them, in the order of their bytes."""
    query = select(parts_table).where(parts_table.c.upload_key == upload_key).order_by(parts_table.c.range_start)
    return [_part(row) for row in tx.execute(query)]


def overlapping(tx: Connection, upload_key: int, start: int, end: int) -> list[Part]:
    """The parts that share a byte with this range."""
    own = parts_table.c
    query = select(parts_table).where(own.upload_key == upload_key, own.range_start < end, own.range_end > start)
    return [_part(row) for row in tx.execute(query.order_by(own.range_start))]


def add_part(tx: Connection, upload_key: int, part: Part) -> None:
    """Keeps a part that overlaps none, and counts its bytes."""
    row = {"upload_key": upload_key, "range_start": part.start, "range_end": part.end, "sha": part.sha}
    tx.execute(sql_insert(parts_table).values(**row))
    more = {"num_received": table.c.num_received + (part.end - part.start)}
    tx.execute(sql_update(table).where(table.c.key == upload_key).values(**more))


def received(tx: Connection, upload_key: int) -> int:
    """Bytes that are here."""
    return int(tx.execute(select(table.c.num_received).where(table.c.key == upload_key)).scalar_one())


def missing_from(tx: Connection, upload_key: int) -> int:
    """The first byte that is not here: where a client goes on that sends the parts in their order."""
    own, following = parts_table.alias(), parts_table.alias()
    begins = select(own.c.key).where(own.c.upload_key == upload_key, own.c.range_start == 0)
    if tx.execute(begins).first() is None:
        return 0
    joined = own.outerjoin(
        following, (following.c.upload_key == own.c.upload_key) & (following.c.range_start == own.c.range_end)
    )
    query = select(func.min(own.c.range_end)).select_from(joined)
    return int(tx.execute(query.where(own.c.upload_key == upload_key, following.c.key.is_(None))).scalar_one())


def drop_parts(tx: Connection, upload_keys: Sequence[int]) -> None:
    """Lets go of the bytes: nothing will read them any more."""
    tx.execute(sql_delete(parts_table).where(parts_table.c.upload_key.in_(upload_keys)))
