"""The people and organisations that own apps."""

from __future__ import annotations

from sqlalchemy import Connection, select

from lehr.protocol import resources_pb2
from lehr.store.rows import Noun
from lehr.store.tables import users

__all__ = ["by_email", "count", "get", "insert", "update"]

_USERS = Noun(table=users, message=resources_pb2.User, columns=lambda user: {"id": user.id}, what="user")


def insert(tx: Connection, user: resources_pb2.User) -> None:
    """Raises Duplicate."""
    _USERS.insert(tx, [user])


def get(tx: Connection, user_id: str) -> resources_pb2.User | None:
    """The user of this id."""
    return _USERS.first(tx, users.c.id == user_id)


def by_email(tx: Connection, email: str) -> list[resources_pb2.User]:
    """The users with this address, whatever the case. Reads all of them: there are few."""
    wanted = email.strip().lower()
    found = _USERS.messages(tx, select(users.c.message).order_by(users.c.key))
    return [user for user in found if wanted and wanted in _addresses(user)]


def _addresses(user: resources_pb2.User) -> set[str]:
    return {each.lower() for each in (user.primary_email, *(one.email for one in user.email_addresses))}


def update(tx: Connection, user: resources_pb2.User) -> None:
    """Writes the whole message. Raises NotFound."""
    _USERS.update(tx, user, users.c.id == user.id)


def count(tx: Connection) -> int:
    """How many users there are."""
    return _USERS.count(tx)
