"""Saved searches."""

from __future__ import annotations

from typing import Any, Literal, cast

from sqlalchemy import ColumnElement, Connection, select

from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store.rows import Noun, app_key, app_key_of
from lehr.store.tables import searches as table

__all__ = ["Kind", "delete", "get", "insert", "kind_of", "page", "update"]

Kind = Literal["inputs", "annotations"]
"""What a search finds."""

_SEARCHES = Noun(
    table=table, message=resources_pb2.Search, columns=lambda search: {"id": search.id}, what="saved search"
)


def _is(ref: AppRef, search_id: str) -> tuple[ColumnElement[bool], ...]:
    return table.c.app_key == app_key(ref), table.c.id == search_id


def insert(tx: Connection, ref: AppRef, search: resources_pb2.Search, kind: Kind) -> None:
    """Raises Duplicate."""
    _SEARCHES.insert(tx, [search], app_key=app_key_of(tx, ref), kind=kind)


def get(tx: Connection, ref: AppRef, search_id: str) -> resources_pb2.Search | None:
    """The search of this id."""
    return _SEARCHES.first(tx, *_is(ref, search_id))


def kind_of(tx: Connection, ref: AppRef, search_id: str) -> Kind | None:
    """What the search of this id finds."""
    return cast("Kind | None", tx.execute(select(table.c.kind).where(*_is(ref, search_id))).scalar())


def page(tx: Connection, ref: AppRef, *, page: int, per_page: int) -> list[resources_pb2.Search]:
    """The app's saved searches, newest first."""
    order: list[Any] = [table.c.key.desc()]
    return _SEARCHES.page(tx, table.c.app_key == app_key(ref), page=page, per_page=per_page, order=order)


def update(tx: Connection, ref: AppRef, search: resources_pb2.Search) -> None:
    """Writes the whole message. Raises NotFound."""
    _SEARCHES.update(tx, search, *_is(ref, search.id))


def delete(tx: Connection, ref: AppRef, search_id: str) -> int:
    """Whether there was one, as a number."""
    return _SEARCHES.delete(tx, *_is(ref, search_id))
