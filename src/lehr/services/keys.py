"""Keys: made, listed, changed, deleted. The secret is shown once, in the answer that creates it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from lehr.errors import InvalidRequest, KeyInvalid, KeyNotFound, NotFound
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef, new_id
from lehr.protocol.patch import patched
from lehr.protocol.rpcs import ALL_SCOPES
from lehr.services.paging import Paging
from lehr.services.scopes import check_known, check_within
from lehr.services.users import APP_SPECIFIC_KEY, PERSONAL_ACCESS_TOKEN
from lehr.store import apps as app_rows
from lehr.store import keys as key_rows
from lehr.store.db import Database

TYPES = (APP_SPECIFIC_KEY, PERSONAL_ACCESS_TOKEN)


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Needs only the store."""

    db: Database

    def identify(self, secret: str) -> key_rows.FoundKey:
        """Who holds this secret. Raises KeyInvalid, in the words that clients match on, for any other."""
        with self.db.read() as tx:
            found = key_rows.find(tx, secret) if secret else None
        if found is None:
            raise KeyInvalid("Give a valid key: `Authorization: Key YOUR_KEY`.")
        return found

    def create(
        self, user_id: str, wanted: Sequence[resources_pb2.Key], *, held: Iterable[str] = (ALL_SCOPES,)
    ) -> list[resources_pb2.Key]:
        """Makes the keys; in the answer, and only there, `id` is the secret itself.

        `held` are the scopes of the key in hand: raises MissingScope for a key that may do more than that.
        """
        if not wanted:
            raise InvalidRequest("No key was given: `keys` is empty.")
        made = []
        with self.db.write() as tx:
            for order in wanted:
                _check_expiry(order)
                app = self._app_of(tx, user_id, order)
                secret = key_rows.new_secret()
                key = resources_pb2.Key()
                key.CopyFrom(order)
                key.id, key.type = new_id(), order.type or APP_SPECIFIC_KEY
                if not key.scopes and not key.endpoints:
                    key.scopes.append(ALL_SCOPES)
                check_known(key.scopes, key.endpoints)
                check_within(key.scopes, key.endpoints, held)
                key.ClearField("created_at")
                key_rows.insert(tx, user_id, key, secret=secret, app=app)
                key.id = secret
                made.append(key)
        return made

    def get(self, user_id: str, id_or_secret: str) -> resources_pb2.Key:
        """A key by its handle or its secret; the answer names the handle. Raises KeyNotFound."""
        with self.db.read() as tx:
            found = key_rows.get(tx, user_id, id_or_secret)
        if found is None:
            raise KeyNotFound(f"There is no key {id_or_secret[:6]}…")
        return found.key

    def list_of(self, user_id: str, paging: Paging, *, app: AppRef | None = None) -> list[resources_pb2.Key]:
        """A page of the user's keys, newest first; of one app only, if given."""
        with self.db.read() as tx:
            return key_rows.page(tx, user_id, app=app, page=paging.page, per_page=paging.per_page)

    def patch(
        self, user_id: str, changes: Sequence[resources_pb2.Key], action: str, *, held: Iterable[str] = (ALL_SCOPES,)
    ) -> list[resources_pb2.Key]:
        """Changes description, scopes, endpoints or expiry; type and app stay. Scopes beyond `held` are refused."""
        done = []
        with self.db.write() as tx:
            for change in changes:
                found = key_rows.get(tx, user_id, change.id)
                if found is None:
                    raise KeyNotFound(f"There is no key {change.id[:6]}…")
                _check_expiry(change)
                key = patched(found.key, change, action or "overwrite")
                check_known(change.scopes, change.endpoints)
                scopes, endpoints = (set(getattr(key, each)) for each in ("scopes", "endpoints"))
                check_within(scopes - set(found.key.scopes), endpoints - set(found.key.endpoints), held)
                key.id, key.type = found.key.id, found.key.type
                del key.apps[:]
                key.apps.extend(found.key.apps)
                key_rows.update(tx, user_id, key)
                done.append(key)
        return done

    def delete(self, user_id: str, id_or_secret: str) -> None:
        """The key stops working at once. Raises KeyNotFound."""
        with self.db.write() as tx:
            if not key_rows.delete(tx, user_id, id_or_secret):
                raise KeyNotFound(f"There is no key {id_or_secret[:6]}…")

    @staticmethod
    def _app_of(tx: Connection, user_id: str, key: resources_pb2.Key) -> AppRef | None:
        kind = key.type or APP_SPECIFIC_KEY
        if kind not in TYPES:
            raise InvalidRequest(f"Key type {kind!r} is not known; there are: {', '.join(TYPES)}.")
        if kind == PERSONAL_ACCESS_TOKEN:
            if key.apps:
                raise InvalidRequest("A personal access token reaches every app of its user: leave `apps` empty.")
            return None
        if len(key.apps) != 1:
            raise InvalidRequest(f"An app-specific key opens exactly one app; `apps` names {len(key.apps)}.")
        ref = AppRef(user_id, key.apps[0].id)
        if not app_rows.exists(tx, ref):
            raise NotFound(f"App {ref.app_id!r} does not exist.")
        return ref


def _check_expiry(key: resources_pb2.Key) -> None:
    try:
        key.expires_at.ToDatetime()
    except ValueError as error:
        seconds = key.expires_at.seconds
        raise InvalidRequest(f"expires_at is a time of the years 1 to 9999; given {seconds} s since 1970.") from error
