"""What a trained version serves from: one blob each."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from lehr.errors import ModelNotFound
from lehr.store.tables import bundles as table
from lehr.store.versions import ModelVersionRef, key_of

__all__ = ["Bundle", "get", "put"]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """The blob of a bundle and its size in bytes."""

    sha: str
    size: int


def put(tx: Connection, ref: ModelVersionRef, bundle: Bundle) -> None:
    """Points the version at its bundle, instead of any earlier one. Raises ModelNotFound."""
    version_key = key_of(tx, ref)
    tx.execute(delete(table).where(table.c.version_key == version_key))
    tx.execute(insert(table).values(version_key=version_key, sha=bundle.sha, size=bundle.size))


def get(tx: Connection, ref: ModelVersionRef) -> Bundle | None:
    """The version's bundle; None if it has none, or is gone."""
    try:
        key = key_of(tx, ref)
    except ModelNotFound:
        return None
    row = tx.execute(select(table).where(table.c.version_key == key)).first()
    return None if row is None else Bundle(sha=row.sha, size=row.size)
