"""The log of a training: lines, numbered in the order they came, readable while they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select

from lehr.protocol import timestamp_pb2
from lehr.store.rows import paged
from lehr.store.tables import log_lines as table
from lehr.store.times import micros, now, timestamp
from lehr.store.versions import ModelVersionRef, key_of

__all__ = ["Line", "append", "page", "read"]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line; `seq` grows along the log, with gaps."""

    seq: int
    at: timestamp_pb2.Timestamp
    text: str


def append(tx: Connection, ref: ModelVersionRef, lines: Sequence[str]) -> int:
    """Adds lines; answers the number of the last line of the log, 0 if it is empty. Raises ModelNotFound."""
    version_key, moment = key_of(tx, ref), micros(now())
    # PostgreSQL text cannot hold NUL
    rows = [{"version_key": version_key, "at": moment, "text": line.replace("\0", "\ufffd")} for line in lines]
    if rows:
        tx.execute(insert(table), rows)
    last = select(func.max(table.c.key)).where(table.c.version_key == version_key)
    return int(tx.execute(last).scalar() or 0)


def read(tx: Connection, ref: ModelVersionRef, *, after: int = 0, limit: int = 1000) -> list[Line]:
    """Up to `limit` lines that follow line `after`, in order. Raises ModelNotFound."""
    where = (table.c.version_key == key_of(tx, ref), table.c.key > after)
    query = select(table.c.key, table.c.at, table.c.text).where(*where).order_by(table.c.key).limit(limit)
    return [Line(seq=row.key, at=timestamp(row.at), text=row.text) for row in tx.execute(query)]


def page(tx: Connection, ref: ModelVersionRef, *, page: int, per_page: int) -> list[Line]:
    """One page of the log, in order. Raises ModelNotFound."""
    query = select(table.c.key, table.c.at, table.c.text).where(table.c.version_key == key_of(tx, ref))
    found = tx.execute(paged(query.order_by(table.c.key), page, per_page))
    return [Line(seq=row.key, at=timestamp(row.at), text=row.text) for row in found]
