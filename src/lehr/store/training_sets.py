"""What a version was trained on: one blob each, written when its training first reads the data."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from lehr.store.tables import training_sets as table
from lehr.store.versions import ModelVersionRef, key_of

__all__ = ["get", "put"]


def put(tx: Connection, ref: ModelVersionRef, sha: str) -> None:
    """Names the blob, instead of any earlier one. Raises ModelNotFound."""
    version_key = key_of(tx, ref)
    tx.execute(delete(table).where(table.c.version_key == version_key))
    tx.execute(insert(table).values(version_key=version_key, sha=sha))


def get(tx: Connection, ref: ModelVersionRef) -> str | None:
    """The blob's name; None before the data was first read. Raises ModelNotFound."""
    sha: str | None = tx.execute(select(table.c.sha).where(table.c.version_key == key_of(tx, ref))).scalar()
    return sha
