"""Access keys. Only a secret's hash is stored: with 128 random bits in it, a plain SHA-256 cannot be reversed.

A key's row bears a handle, by which it is listed and deleted; whoever still knows the secret may use that instead.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store.clock import now_ms
from lehr.store.rows import Noun, app_key, app_key_of
from lehr.store.tables import apps, keys
from lehr.store.times import micros

__all__ = ["FoundKey", "delete", "find", "find_by_number", "get", "hashed", "insert", "new_secret", "page", "update"]


@dataclass(frozen=True, kw_only=True)
class FoundKey:
    """A key, whose it is, and the one app it is confined to, if any."""

    user_id: str
    app: AppRef | None
    key: resources_pb2.Key


def _columns(key: resources_pb2.Key) -> dict[str, Any]:
    expires = micros(key.expires_at) // 1000 if key.HasField("expires_at") else None
    return {"id": key.id, "expires_at": expires}


_KEYS = Noun(table=keys, message=resources_pb2.Key, columns=_columns, what="key")


def new_secret() -> str:
    """32 hexadecimal digits from the system's secure source."""
    return secrets.token_hex(16)


def hashed(secret: str) -> str:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def insert(tx: Connection, user_id: str, key: resources_pb2.Key, *, secret: str, app: AppRef | None = None) -> None:
    """`key.id` is the handle. Raises Duplicate, and NotFound for an unknown app or user."""
    confined_to = None if app is None else app_key_of(tx, app)
    _KEYS.insert(tx, [key], user_id=user_id, app_key=confined_to, secret_sha=hashed(secret))


def find(tx: Connection, secret: str) -> FoundKey | None:
    """The unexpired key of this secret."""
    return _found(tx, and_(keys.c.secret_sha == hashed(secret), _alive()))


def find_by_number(tx: Connection, number: int) -> FoundKey | None:
    """The unexpired key whose row has this number."""
    return _found(tx, and_(keys.c.key == number, _alive()))


def _alive() -> ColumnElement[bool]:
    return or_(keys.c.expires_at.is_(None), keys.c.expires_at > now_ms())


def get(tx: Connection, user_id: str, id_or_secret: str) -> FoundKey | None:
    """The user's key under this handle or secret, expired or not."""
    return _found(tx, _named(user_id, id_or_secret))


def _found(tx: Connection, where: ColumnElement[bool]) -> FoundKey | None:
    joined = keys.outerjoin(apps, apps.c.key == keys.c.app_key)
    query = select(keys.c.user_id, keys.c.message, apps.c.user_id.label("owner"), apps.c.id.label("app_id"))
    row = tx.execute(query.select_from(joined).where(where)).first()
    if row is None:
        return None
    app = None if row.app_id is None else AppRef(row.owner, row.app_id)
    return FoundKey(user_id=row.user_id, app=app, key=_KEYS.parse(row.message))


def _named(user_id: str, id_or_secret: str) -> ColumnElement[bool]:
    return and_(keys.c.user_id == user_id, or_(keys.c.id == id_or_secret, keys.c.secret_sha == hashed(id_or_secret)))


def page(
    tx: Connection, user_id: str, *, app: AppRef | None = None, page: int, per_page: int
) -> list[resources_pb2.Key]:
    """The user's keys, newest first; with `app`, only those confined to it."""
    where = [keys.c.user_id == user_id]
    if app is not None:
        where.append(keys.c.app_key == app_key(app))
    return _KEYS.page(tx, *where, page=page, per_page=per_page, order=[keys.c.key.desc()])


def update(tx: Connection, user_id: str, key: resources_pb2.Key) -> None:
    """Writes the whole message over the key of this handle. Raises NotFound."""
    _KEYS.update(tx, key, keys.c.user_id == user_id, keys.c.id == key.id)


def delete(tx: Connection, user_id: str, id_or_secret: str) -> int:
    """Forgets the key: its secret opens nothing from now on."""
    return _KEYS.delete(tx, _named(user_id, id_or_secret))
