"""Browsers that are signed in: each holds a token, of which only the hash is stored, and acts with one key.

A session ends with its key. Checks no secret: that is store/keys.py.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from lehr.store import keys as key_rows
from lehr.store.clock import now_ms
from lehr.store.tables import keys, web_sessions

__all__ = ["close", "find", "forget_expired", "open_for"]


def open_for(tx: Connection, *, secret: str, token: str, lifetime_ms: int) -> None:
    """Lets `token` act with the key of this secret; the key was found before in this transaction."""
    key = tx.execute(select(keys.c.key).where(keys.c.secret_sha == key_rows.hashed(secret))).scalar_one()
    row = {"key_key": key, "token_sha": key_rows.hashed(token), "expires_at": now_ms() + lifetime_ms}
    tx.execute(insert(web_sessions).values(row))


def find(tx: Connection, token: str) -> key_rows.FoundKey | None:
    """The unexpired key that this token acts with."""
    alive = web_sessions.c.token_sha == key_rows.hashed(token), web_sessions.c.expires_at > now_ms()
    key = tx.execute(select(web_sessions.c.key_key).where(*alive)).scalar()
    return None if key is None else key_rows.find_by_number(tx, key)


def close(tx: Connection, token: str) -> None:
    """The token opens nothing from now on."""
    tx.execute(delete(web_sessions).where(web_sessions.c.token_sha == key_rows.hashed(token)))


def forget_expired(tx: Connection) -> None:
    """Drops what can be used no more."""
    tx.execute(delete(web_sessions).where(web_sessions.c.expires_at <= now_ms()))
