"""The first user, and what a user may read of themselves."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from lehr.errors import InvalidRequest, NotFound
from lehr.protocol import resources_pb2
from lehr.protocol.ids import PUBLIC_APP, checked_id, new_id
from lehr.store import keys as key_rows
from lehr.store import users as user_rows
from lehr.store.db import Database

PERSONAL_ACCESS_TOKEN = "personal_access_token"  # noqa: S105
APP_SPECIFIC_KEY = "app_specific_key"
SESSION_PREFIX = "page-"
"""What tells the token of a browser's session from a key's secret."""


@dataclass(frozen=True, kw_only=True)
class Users:
    """Needs only the store."""

    db: Database

    def get(self, user_id: str) -> resources_pb2.User:
        """The user. Raises NotFound."""
        with self.db.read() as tx:
            user = user_rows.get(tx, user_id)
        if user is None:
            raise NotFound(f"User {user_id!r} does not exist.")
        return user

    def ensure(self, user_id: str) -> None:
        """Makes the user if there is none of this id. Raises InvalidRequest for an id that is none."""
        with self.db.write() as tx:
            self._ensure(tx, user_id)

    def welcome(self, user_id: str, token: str) -> str | None:
        """Makes the first user and personal access token. Returns the token only when it was generated just now.

        A `token` given by the operator is accepted from then on, beside those made before. One is generated for a user
        without any key, who could not come in otherwise. Raises InvalidRequest for a token that is another user's, or
        that would be taken for a session.
        """
        with self.db.write() as tx:
            self._ensure(tx, user_id)
            if token.startswith(SESSION_PREFIX):
                raise InvalidRequest(
                    f"LEHR_PAT cannot begin with {SESSION_PREFIX!r}, as browsers' sessions do: give another."
                )
            known = key_rows.find(tx, token) if token else None
            if known is not None and known.user_id != user_id:
                raise InvalidRequest(f"LEHR_PAT is user {known.user_id!r}'s, not {user_id!r}'s: give another.")
            if token and known is None:
                self._add_token(tx, user_id, token, "given as LEHR_PAT")
            elif not token and not key_rows.page(tx, user_id, page=1, per_page=1):
                token = key_rows.new_secret()
                self._add_token(tx, user_id, token, "made at first start")
                return token
        return None

    @staticmethod
    def _ensure(tx: Connection, user_id: str) -> None:
        if user_id == PUBLIC_APP.user_id:
            raise InvalidRequest(
                f"The user {user_id!r} owns what is built in, and nobody has its keys: choose another id."
            )
        if user_rows.get(tx, checked_id(user_id, "User")) is None:
            user_rows.insert(tx, resources_pb2.User(id=user_id))

    @staticmethod
    def _add_token(tx: Connection, user_id: str, secret: str, description: str) -> None:
        key = resources_pb2.Key(id=new_id(), type=PERSONAL_ACCESS_TOKEN, description=description, scopes=["All"])
        key_rows.insert(tx, user_id, key, secret=secret)
