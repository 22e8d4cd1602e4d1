"""Random secrets that the servers of one store share: made when first asked for, the same ever after."""

from __future__ import annotations

import secrets as source

from sqlalchemy import Connection, insert, select

from lehr.store.tables import secrets

__all__ = ["shared"]

NUM_BYTES = 32


def shared(tx: Connection, name: str) -> bytes:
    """32 random bytes under this name. Needs a write transaction, because the first caller makes them."""
    found = tx.execute(select(secrets.c.value).where(secrets.c.name == name)).scalar()
    if found is None:
        found = source.token_bytes(NUM_BYTES)
        tx.execute(insert(secrets).values(name=name, value=found))
    return bytes(found)
