"""Operations on many inputs: what each is to do, and how far it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy import update as sql_update

from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store import tables
from lehr.store.rows import Noun, app_key, app_key_of, paged
from lehr.store.times import now

__all__ = ["StoredOperation", "advance", "delete", "get", "insert", "last_key", "page", "start", "update"]

table = tables.bulk_operations


def _columns(operation: resources_pb2.BulkOperation) -> dict[str, Any]:
    return {"id": operation.id, "status_code": operation.status.code}


_OPERATIONS = Noun(table=table, message=resources_pb2.BulkOperation, columns=_columns, what="bulk operation")


@dataclass(frozen=True, kw_only=True)
class StoredOperation:
    """An operation with what its message does not say."""

    message: resources_pb2.BulkOperation
    position: int
    """Key of the last row that is dealt with."""
    last_key: int
    """Key of the last row that there was when it began; 0 before."""


def insert(tx: Connection, ref: AppRef, operation: resources_pb2.BulkOperation) -> None:
    """Raises Duplicate."""
    operation.last_modified_at.CopyFrom(now())
    _OPERATIONS.insert(tx, [operation], app_key=app_key_of(tx, ref), position=0, last_key=0)


def _stored(row: Any) -> StoredOperation:
    return StoredOperation(message=_OPERATIONS.parse(row.message), position=row.position, last_key=row.last_key)


def _is(ref: AppRef, operation_id: str) -> tuple[Any, ...]:
    return table.c.app_key == app_key(ref), table.c.id == operation_id


def get(tx: Connection, ref: AppRef, operation_id: str) -> StoredOperation | None:
    """The operation of this id."""
    row = tx.execute(select(table).where(*_is(ref, operation_id))).first()
    return None if row is None else _stored(row)


def page(tx: Connection, ref: AppRef, *, page: int, per_page: int) -> list[StoredOperation]:
    """The app's operations, newest first."""
    query = select(table).where(table.c.app_key == app_key(ref)).order_by(table.c.key.desc())
    return [_stored(row) for row in tx.execute(paged(query, page, per_page))]


def update(tx: Connection, ref: AppRef, operation: resources_pb2.BulkOperation) -> None:
    """Writes the message. Raises NotFound."""
    operation.last_modified_at.CopyFrom(now())
    _OPERATIONS.update(tx, operation, *_is(ref, operation.id))


def start(tx: Connection, ref: AppRef, operation_id: str, last: int) -> None:
    """Notes the last row that the operation is about: what comes later is not touched."""
    tx.execute(sql_update(table).where(*_is(ref, operation_id)).values(last_key=last))


def advance(tx: Connection, ref: AppRef, operation_id: str, position: int) -> None:
    """Notes the last row that is dealt with."""
    tx.execute(sql_update(table).where(*_is(ref, operation_id)).values(position=position))


def delete(tx: Connection, ref: AppRef, ids: Iterable[str]) -> int:
    """Deletes those that exist."""
    return _OPERATIONS.delete(tx, table.c.app_key == app_key(ref), table.c.id.in_(list(ids)))


def last_key(tx: Connection, ref: AppRef, *, of_annotations: bool) -> int:
    """Key of the app's newest input or annotation."""
    rows = tables.input_annotations if of_annotations else tables.inputs
    found = tx.execute(select(func.max(rows.c.key)).where(rows.c.app_key == app_key(ref))).scalar()
    return int(found or 0)
