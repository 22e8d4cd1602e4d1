"""Applications: what inputs, concepts, data sets and models belong to."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, select

from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store.rows import Noun, is_like
from lehr.store.tables import apps

__all__ = ["count", "delete", "exists", "get", "insert", "page", "page_like", "update"]

_APPS = Noun(
    table=apps,
    message=resources_pb2.App,
    columns=lambda app: {"user_id": app.user_id, "id": app.id, "name": app.name},
    what="app",
)


def _is(ref: AppRef) -> Sequence[ColumnElement[bool]]:
    return apps.c.user_id == ref.user_id, apps.c.id == ref.app_id


def _matches(user_id: str, name: str) -> list[ColumnElement[bool]]:
    where = [apps.c.user_id == user_id]
    if name:
        where.append(apps.c.name == name)
    return where


def insert(tx: Connection, app: resources_pb2.App) -> None:
    """`app.user_id` owns it. Raises Duplicate, NotFound for an unknown user."""
    _APPS.insert(tx, [app])


def get(tx: Connection, ref: AppRef) -> resources_pb2.App | None:
    """The app of this name."""
    return _APPS.first(tx, *_is(ref))


def exists(tx: Connection, ref: AppRef) -> bool:
    """Whether there is such an app."""
    return tx.execute(select(apps.c.key).where(*_is(ref))).first() is not None


def page(tx: Connection, user_id: str, *, page: int, per_page: int, name: str = "") -> list[resources_pb2.App]:
    """The user's apps, newest first; with `name`, only those called exactly so."""
    return _APPS.page(tx, *_matches(user_id, name), page=page, per_page=per_page, order=[apps.c.key.desc()])


def page_like(tx: Connection, user_id: str, pattern: str, *, page: int, per_page: int) -> list[resources_pb2.App]:
    """The user's apps, newest first, whose id or name is like the pattern; an empty one means all."""
    where = [apps.c.user_id == user_id, *([is_like(pattern, apps.c.id, apps.c.name)] if pattern else [])]
    return _APPS.page(tx, *where, page=page, per_page=per_page, order=[apps.c.key.desc()])


def count(tx: Connection, user_id: str, name: str = "") -> int:
    """How many apps `page` runs over."""
    return _APPS.count(tx, *_matches(user_id, name))


def update(tx: Connection, app: resources_pb2.App) -> None:
    """Writes the whole message. Raises NotFound."""
    _APPS.update(tx, app, *_is(AppRef(app.user_id, app.id)))


def delete(tx: Connection, ref: AppRef) -> int:
    """Deletes the app and every row that belongs to it. Its jobs are the queue's to cancel."""
    return _APPS.delete(tx, *_is(ref))
