"""Who may enter an app beside its owner. A stored collaborator names its user by id alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, or_, select

from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store.rows import Noun, app_key, app_key_of, paged
from lehr.store.tables import apps
from lehr.store.tables import collaborators as table

__all__ = ["delete", "get", "insert", "of_id", "page", "page_of_user", "update"]


def _columns(collaborator: resources_pb2.Collaborator) -> dict[str, Any]:
    return {"id": collaborator.id, "user_id": collaborator.user.id}


_COLLABORATORS = Noun(table=table, message=resources_pb2.Collaborator, columns=_columns, what="collaborator")


def _is(ref: AppRef, user_id: str) -> tuple[ColumnElement[bool], ...]:
    return table.c.app_key == app_key(ref), table.c.user_id == user_id


def insert(tx: Connection, ref: AppRef, collaborator: resources_pb2.Collaborator) -> None:
    """Raises Duplicate, NotFound for an unknown user or app."""
    _COLLABORATORS.insert(tx, [collaborator], app_key=app_key_of(tx, ref))


def get(tx: Connection, ref: AppRef, user_id: str) -> resources_pb2.Collaborator | None:
    """The user as a collaborator of the app."""
    return _COLLABORATORS.first(tx, *_is(ref, user_id))


def of_id(tx: Connection, ref: AppRef, collaborator_id: str) -> resources_pb2.Collaborator | None:
    """The app's collaborator of this id."""
    return _COLLABORATORS.first(tx, table.c.app_key == app_key(ref), table.c.id == collaborator_id)


def page(tx: Connection, ref: AppRef, *, page: int, per_page: int) -> list[resources_pb2.Collaborator]:
    """The app's collaborators, oldest first."""
    return _COLLABORATORS.page(tx, table.c.app_key == app_key(ref), page=page, per_page=per_page)


def page_of_user(
    tx: Connection, user_id: str, *, page: int, per_page: int
) -> list[tuple[resources_pb2.App, resources_pb2.Collaborator]]:
    """The apps in which the user collaborates, newest first, each with what the user may do there."""
    joined = table.join(apps, apps.c.key == table.c.app_key)
    query = select(apps.c.message.label("app"), table.c.message).select_from(joined).where(table.c.user_id == user_id)
    rows = tx.execute(paged(query.order_by(table.c.key.desc()), page, per_page)).all()
    return [(_app(row.app), _COLLABORATORS.parse(row.message)) for row in rows]


def update(tx: Connection, ref: AppRef, collaborator: resources_pb2.Collaborator) -> None:
    """Writes the whole message. Raises NotFound."""
    _COLLABORATORS.update(tx, collaborator, *_is(ref, collaborator.user.id))


def delete(tx: Connection, ref: AppRef, ids: Iterable[str]) -> int:
    """Removes those of these ids, which may be the collaborators' own or their users'."""
    names = list(ids)
    named = or_(table.c.id.in_(names), table.c.user_id.in_(names))
    return _COLLABORATORS.delete(tx, table.c.app_key == app_key(ref), named)


def _app(data: bytes) -> resources_pb2.App:
    app = resources_pb2.App()
    app.MergeFromString(data)
    return app
