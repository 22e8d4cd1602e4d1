"""The people and organisations that own apps."""

from __future__ import annotations

from sqlalchemy import Connection

from lehr.protocol import resources_pb2
from lehr.store.rows import Noun
from lehr.store.tables import users

__all__ = ["count", "get", "insert", "update"]

_USERS = Noun(table=users, message=resources_pb2.User, columns=lambda user: {"id": user.id}, what="user")


def insert(tx: Connection, user: resources_pb2.User) -> None:
    """Raises Duplicate."""
    _USERS.insert(tx, [user])


def get(tx: Connection, user_id: str) -> resources_pb2.User | None:
    """The user of this id."""
    return _USERS.first(tx, users.c.id == user_id)


def update(tx: Connection, user: resources_pb2.User) -> None:
    """Writes the whole message. Raises NotFound."""
    _USERS.update(tx, user, users.c.id == user.id)


def count(tx: Connection) -> int:
    """How many users there are."""
    return _USERS.count(tx)
