"""Collaborators: users whom an app's owner lets in, each for some scopes. Who enters is decided in entry.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from lehr.errors import Duplicate, InvalidRequest, NotFound
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef, checked_id, new_id
from lehr.protocol.patch import OVERWRITE, checked_action, patched
from lehr.services.paging import Paging
from lehr.services.scopes import check_known, check_within
from lehr.store import collaborators as rows
from lehr.store import users as user_rows
from lehr.store.db import Database

MAX_COLLABORATORS = 128
"""In one request."""


@dataclass(frozen=True, kw_only=True)
class Collaborators:
    """Needs only the store."""

    db: Database

    def list_of(self, ref: AppRef, paging: Paging) -> list[resources_pb2.Collaborator]:
        """A page of the app's collaborators, oldest first."""
        with self.db.read() as tx:
            return [_shown(tx, ref, each) for each in rows.page(tx, ref, **paging._asdict())]

    def owner(self, ref: AppRef) -> resources_pb2.User:
        """Whose app it is, as collaborators see it."""
        with self.db.read() as tx:
            return _user(tx, ref.user_id)

    def add(
        self, ref: AppRef, wanted: Sequence[resources_pb2.Collaborator], held: frozenset[str]
    ) -> list[resources_pb2.Collaborator]:
        """Lets users in, all or none, by id or e-mail address; `held` are the scopes of the key in hand.

        Raises NotFound for an unknown user, Duplicate for one who is in, InvalidRequest, MissingScope.
        """
        if not 1 <= len(wanted) <= MAX_COLLABORATORS:
            raise InvalidRequest(f"A request adds 1 to {MAX_COLLABORATORS} collaborators; this one has {len(wanted)}.")
        with self.db.write() as tx:
            return [self._added(tx, ref, order, held) for order in wanted]

    @staticmethod
    def _added(
        tx: Connection, ref: AppRef, order: resources_pb2.Collaborator, held: frozenset[str]
    ) -> resources_pb2.Collaborator:
        _check_scopes(order, held)
        user_id = _user_meant(tx, order.user)
        if user_id == ref.user_id:
            raise InvalidRequest(f"User {user_id!r} owns app {ref.app_id!r} and needs no invitation.")
        if rows.get(tx, ref, user_id) is not None:
            raise Duplicate(f"User {user_id!r} is a collaborator of app {ref.app_id!r} already: patch the scopes.")
        made = resources_pb2.Collaborator(
            id=checked_id(order.id, "Collaborator") if order.id else new_id(),
            user=resources_pb2.User(id=user_id),
            scopes=order.scopes,
            endpoints=order.endpoints,
        )
        rows.insert(tx, ref, made)
        return _shown(tx, ref, made)

    def patch(
        self, ref: AppRef, changes: Sequence[resources_pb2.Collaborator], action: str, held: frozenset[str]
    ) -> list[resources_pb2.Collaborator]:
        """Changes scopes and endpoints, all or none. Raises NotFound, InvalidRequest, MissingScope."""
        action = checked_action(action or OVERWRITE)
        with self.db.write() as tx:
            return [self._patched(tx, ref, change, action, held) for change in changes]

    @staticmethod
    def _patched(
        tx: Connection, ref: AppRef, change: resources_pb2.Collaborator, action: str, held: frozenset[str]
    ) -> resources_pb2.Collaborator:
        stored = _found(tx, ref, change)
        wanted = resources_pb2.Collaborator(scopes=change.scopes, endpoints=change.endpoints)
        check_known(wanted.scopes, wanted.endpoints)
        done = patched(stored, wanted, action)
        for field in ("scopes", "endpoints"):
            once = sorted(set(getattr(done, field)))
            done.ClearField(field)
            getattr(done, field).extend(once)
        _check_scopes(done, held)
        rows.update(tx, ref, done)
        return _shown(tx, ref, done)

    def remove(self, ref: AppRef, ids: Sequence[str], emails: Sequence[str]) -> int:
        """Takes users out, at once, by the collaborator's or user's id or by e-mail; nobody named: nobody goes."""
        with self.db.write() as tx:
            by_email = [user.id for email in emails for user in user_rows.by_email(tx, email)]
            return rows.delete(tx, ref, [*ids, *by_email])

    def collaborations(self, user_id: str, paging: Paging) -> list[resources_pb2.Collaboration]:
        """A page of the apps of others that the user may enter, the latest first."""
        with self.db.read() as tx:
            return [
                resources_pb2.Collaboration(
                    app=app,
                    app_owner=_user(tx, app.user_id),
                    scopes=mine.scopes,
                    endpoints=mine.endpoints,
                    created_at=mine.created_at,
                )
                for app, mine in rows.page_of_user(tx, user_id, **paging._asdict())
            ]


def _check_scopes(wanted: resources_pb2.Collaborator, held: frozenset[str]) -> None:
    if not wanted.scopes and not wanted.endpoints:
        raise InvalidRequest(
            "A collaborator needs `scopes` or `endpoints`: with none there is nothing to do in the app."
        )
    check_known(wanted.scopes, wanted.endpoints)
    check_within(wanted.scopes, wanted.endpoints, held)


def _user_meant(tx: Connection, user: resources_pb2.User) -> str:
    if user.id:
        if user_rows.get(tx, user.id) is not None:
            return user.id
    elif email := user.primary_email or next((each.email for each in user.email_addresses), ""):
        found = user_rows.by_email(tx, email)
        if len(found) == 1:
            return found[0].id
    else:
        raise InvalidRequest("A collaborator is named by `user.id` or `user.primary_email`; this one has neither.")
    raise NotFound(f"There is no user {user.id or user.primary_email!r} here.")


def _found(tx: Connection, ref: AppRef, change: resources_pb2.Collaborator) -> resources_pb2.Collaborator:
    named = change.user.id or change.id
    found = rows.get(tx, ref, named) or rows.of_id(tx, ref, change.id)
    if found is None:
        raise NotFound(f"App {ref.app_id!r} has no collaborator {named!r}.")
    return found


def _shown(tx: Connection, ref: AppRef, stored: resources_pb2.Collaborator) -> resources_pb2.Collaborator:
    """With names, and with the app by its id."""
    shown = resources_pb2.Collaborator()
    shown.CopyFrom(stored)
    shown.user.CopyFrom(_user(tx, stored.user.id))
    shown.app.id, shown.app.user_id = ref.app_id, ref.user_id
    return shown


def _user(tx: Connection, user_id: str) -> resources_pb2.User:
    """What others see of a user."""
    user = user_rows.get(tx, user_id) or resources_pb2.User(id=user_id)
    return resources_pb2.User(
        id=user.id, first_name=user.first_name, last_name=user.last_name, primary_email=user.primary_email
    )
