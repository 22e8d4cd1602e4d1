"""Random secrets that the servers of one store share: made when first asked for, the same ever after."""

from __future__ import annotations

import secrets as source

from sqlalchemy import Connection, select

from lehr.store.rows import insert_new
from lehr.store.tables import secrets

__all__ = ["shared"]

NUM_BYTES = 32


def shared(tx: Connection, name: str) -> bytes:
    """32 random bytes under this name. Needs a write transaction, because the first caller makes them."""
    found = _stored(tx, name)
    if found is None:
        made = {"name": name, "value": source.token_bytes(NUM_BYTES)}
        tx.execute(insert_new(tx, secrets).values(**made))  # a server starting with us may be first
        found = _stored(tx, name)
    assert found is not None
    return found


def _stored(tx: Connection, name: str) -> bytes | None:
    value = tx.execute(select(secrets.c.value).where(secrets.c.name == name)).scalar()
    return None if value is None else bytes(value)
