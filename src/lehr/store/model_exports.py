"""Trained versions written out for use elsewhere: at most one export each, with how far it is and its blob."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from lehr.errors import ModelNotFound
from lehr.protocol import resources_pb2
from lehr.store.tables import model_exports as table
from lehr.store.versions import ModelVersionRef, key_of

__all__ = ["StoredExport", "get", "put"]


@dataclass(frozen=True, kw_only=True)
class StoredExport:
    """An export as it stands, and its blob ('' until there is one)."""

    export: resources_pb2.ModelVersionExport
    sha: str = ""


def put(tx: Connection, ref: ModelVersionRef, stored: StoredExport) -> None:
    """Writes it over any earlier one. Raises ModelNotFound."""
    version_key = key_of(tx, ref)
    tx.execute(delete(table).where(table.c.version_key == version_key))
    tx.execute(insert(table).values(version_key=version_key, sha=stored.sha, message=stored.export.SerializeToString()))


def get(tx: Connection, ref: ModelVersionRef) -> StoredExport | None:
    """The version's export; None if none was asked for, or the version is gone."""
    try:
        key = key_of(tx, ref)
    except ModelNotFound:
        return None
    row = tx.execute(select(table).where(table.c.version_key == key)).first()
    if row is None:
        return None
    export = resources_pb2.ModelVersionExport()
    export.MergeFromString(row.message)
    return StoredExport(export=export, sha=row.sha)
