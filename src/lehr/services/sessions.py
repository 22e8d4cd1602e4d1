"""Signing in to the web page: a browser trades a key for a token of its own, which a cookie holds.

The token acts with the key's rights, ends with the key, with signing out, or after 30 days, and never is the key.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from lehr.errors import KeyInvalid, MissingScope
from lehr.services.keys import Keys
from lehr.services.users import SESSION_PREFIX
from lehr.store import keys as key_rows
from lehr.store import sessions as session_rows
from lehr.store.db import Database

LIFETIME_SECONDS = 30 * 86_400


@dataclass(frozen=True, kw_only=True)
class Sessions:
    """Needs only the store."""

    db: Database

    def open(self, secret: str) -> str:
        """A fresh token that acts with the key. Raises KeyInvalid, or MissingScope for a key confined to one app."""
        secret = secret.strip()
        with self.db.write() as tx:
            found = key_rows.find(tx, secret) if secret else None
            if found is None:
                raise KeyInvalid("This key opens nothing here: it is mistyped, deleted or expired.")
            if found.app is not None:
                raise MissingScope(
                    f"This key is confined to the app {found.app.app_id!r}; sign in with a personal access token."
                )
            token = SESSION_PREFIX + secrets.token_hex(24)
            session_rows.forget_expired(tx)
            session_rows.open_for(tx, secret=secret, token=token, lifetime_ms=LIFETIME_SECONDS * 1000)
        return token

    def identify(self, token_or_secret: str) -> key_rows.FoundKey:
        """Who holds this session's token or this key's secret. Raises KeyInvalid."""
        if not token_or_secret.startswith(SESSION_PREFIX):
            return Keys(db=self.db).identify(token_or_secret)
        with self.db.read() as tx:
            found = session_rows.find(tx, token_or_secret)
        if found is None:
            raise KeyInvalid("You are signed out: sign in again with your key.")
        return found

    def close(self, token: str) -> None:
        """Signs the browser out."""
        with self.db.write() as tx:
            session_rows.close(tx, token)
