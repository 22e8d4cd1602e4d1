"""Concepts: the classes that an app's models tell apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store.rows import Noun, app_key, app_key_of
from lehr.store.tables import concepts as table

__all__ = ["count", "delete", "find", "get", "get_many", "insert", "page", "update"]

_CONCEPTS = Noun(
    table=table,
    message=resources_pb2.Concept,
    columns=lambda concept: {"id": concept.id, "name": concept.name},
    what="concept",
)


def insert(tx: Connection, ref: AppRef, concepts: Sequence[resources_pb2.Concept]) -> None:
    """All or none. Raises Duplicate."""
    _CONCEPTS.insert(tx, concepts, app_key=app_key_of(tx, ref))


def get(tx: Connection, ref: AppRef, concept_id: str) -> resources_pb2.Concept | None:
    """The concept of this id."""
    return _CONCEPTS.first(tx, table.c.app_key == app_key(ref), table.c.id == concept_id)


def get_many(tx: Connection, ref: AppRef, ids: Iterable[str]) -> dict[str, resources_pb2.Concept]:
    """Those of the ids that exist."""
    return _CONCEPTS.by_id(tx, ids, table.c.app_key == app_key(ref))


def find(tx: Connection, ref: AppRef, name: str) -> list[resources_pb2.Concept]:
    """The concepts called exactly so; names need not be unique."""
    return _CONCEPTS.page(tx, table.c.app_key == app_key(ref), table.c.name == name, page=1, per_page=1000)


def page(tx: Connection, ref: AppRef, *, page: int, per_page: int) -> list[resources_pb2.Concept]:
    """The app's concepts, oldest first."""
    return _CONCEPTS.page(tx, table.c.app_key == app_key(ref), page=page, per_page=per_page)


def count(tx: Connection, ref: AppRef) -> int:
    """How many concepts the app has."""
    return _CONCEPTS.count(tx, table.c.app_key == app_key(ref))


def update(tx: Connection, ref: AppRef, concepts: Sequence[resources_pb2.Concept]) -> None:
    """Writes the whole messages. Raises NotFound."""
    for concept in concepts:
        _CONCEPTS.update(tx, concept, table.c.app_key == app_key(ref), table.c.id == concept.id)


def delete(tx: Connection, ref: AppRef, ids: Iterable[str]) -> int:
    """Deletes those that exist. Annotations keep naming them."""
    return _CONCEPTS.delete(tx, table.c.app_key == app_key(ref), table.c.id.in_(list(ids)))
