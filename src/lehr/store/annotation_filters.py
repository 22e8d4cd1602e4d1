"""Annotation filters: which annotations a version of a data set is to hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection

from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store.rows import Noun, app_key, app_key_of
from lehr.store.tables import annotation_filters as table

__all__ = ["delete", "get", "insert", "page", "update"]

_FILTERS = Noun(
    table=table,
    message=resources_pb2.AnnotationFilter,
    columns=lambda message: {"id": message.id},
    what="annotation filter",
)


def _is(ref: AppRef, filter_id: str) -> tuple[ColumnElement[bool], ...]:
    return table.c.app_key == app_key(ref), table.c.id == filter_id


def insert(tx: Connection, ref: AppRef, filters: Sequence[resources_pb2.AnnotationFilter]) -> None:
    """All or none. Raises Duplicate."""
    _FILTERS.insert(tx, filters, app_key=app_key_of(tx, ref))


def get(tx: Connection, ref: AppRef, filter_id: str) -> resources_pb2.AnnotationFilter | None:
    """The filter of this id."""
    return _FILTERS.first(tx, *_is(ref, filter_id))


def page(tx: Connection, ref: AppRef, *, page: int, per_page: int) -> list[resources_pb2.AnnotationFilter]:
    """The app's filters, newest first."""
    order: list[Any] = [table.c.key.desc()]
    return _FILTERS.page(tx, table.c.app_key == app_key(ref), page=page, per_page=per_page, order=order)


def update(tx: Connection, ref: AppRef, message: resources_pb2.AnnotationFilter) -> None:
    """Writes the whole message. Raises NotFound."""
    _FILTERS.update(tx, message, *_is(ref, message.id))


def delete(tx: Connection, ref: AppRef, ids: Iterable[str]) -> int:
    """Deletes those that exist. Versions frozen with them stay as they are."""
    return _FILTERS.delete(tx, table.c.app_key == app_key(ref), table.c.id.in_(list(ids)))
