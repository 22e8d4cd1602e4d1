"""What was made of a frozen version of a data set: files of it in several formats, and its figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update

from lehr.errors import NotFound
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store import tables
from lehr.store.rows import app_key

__all__ = ["ExportRef", "StoredExport", "get", "groups", "has_content", "put", "set_groups", "update"]

table, metrics = tables.dataset_exports, tables.dataset_metrics


@dataclass(frozen=True, kw_only=True)
class ExportRef:
    """One format of one frozen version."""

    app: AppRef
    dataset_id: str
    version_id: str
    format: int
    with_embeddings: bool = False


@dataclass(frozen=True, kw_only=True)
class StoredExport:
    """How it stands, what the addresses in it begin with, and its blob once there is one."""

    export: resources_pb2.DatasetVersionExport
    base_url: str
    sha: str = ""


def _version_key(tx: Connection, app: AppRef, dataset_id: str, version_id: str, *, lock: bool = False) -> int:
    datasets, versions = tables.datasets.c, tables.dataset_versions.c
    query = select(versions.key).join(tables.datasets, datasets.key == versions.dataset_key)
    where = (datasets.app_key == app_key(app), datasets.id == dataset_id, versions.id == version_id)
    query = query.where(*where)
    key = tx.execute(query.with_for_update(of=tables.dataset_versions) if lock else query).scalar()
    if key is None:
        raise NotFound(f"There is no version {version_id!r} of dataset {dataset_id!r}.")
    return int(key)


def _is(tx: Connection, ref: ExportRef) -> tuple[Any, ...]:
    key = _version_key(tx, ref.app, ref.dataset_id, ref.version_id)
    own = table.c
    return own.version_key == key, own.format == ref.format, own.with_embeddings == ref.with_embeddings


def get(tx: Connection, ref: ExportRef) -> StoredExport | None:
    """The export, if it was ever asked for. Raises NotFound without the version."""
    row = tx.execute(select(table).where(*_is(tx, ref))).first()
    if row is None:
        return None
    export = resources_pb2.DatasetVersionExport()
    export.MergeFromString(row.message)
    return StoredExport(export=export, base_url=row.base_url, sha=row.sha)


def _row(stored: StoredExport) -> dict[str, Any]:
    export = stored.export
    told = {"status_code": export.status.code, "message": export.SerializeToString()}
    return {"base_url": stored.base_url, "sha": stored.sha, **told}


def put(tx: Connection, ref: ExportRef, stored: StoredExport) -> None:
    """Writes it in place of what there was."""
    key = _version_key(tx, ref.app, ref.dataset_id, ref.version_id, lock=True)
    tx.execute(sql_delete(table).where(*_is(tx, ref)))
    own = {"version_key": key, "format": ref.format, "with_embeddings": ref.with_embeddings}
    tx.execute(sql_insert(table).values(**own, **_row(stored)))


def update(tx: Connection, ref: ExportRef, stored: StoredExport) -> None:
    """Writes it, if it is still there."""
    tx.execute(sql_update(table).where(*_is(tx, ref)).values(**_row(stored)))


def groups(tx: Connection, app: AppRef, dataset_id: str, version_id: str) -> bytes | None:
    """The figures, serialised; None until they are counted. Raises NotFound without the version."""
    key = _version_key(tx, app, dataset_id, version_id)
    found: bytes | None = tx.execute(select(metrics.c.groups).where(metrics.c.version_key == key)).scalar()
    return found


def set_groups(tx: Connection, app: AppRef, dataset_id: str, version_id: str, data: bytes) -> None:
    """Keeps the figures. Raises NotFound without the version."""
    key = _version_key(tx, app, dataset_id, version_id, lock=True)
    tx.execute(sql_delete(metrics).where(metrics.c.version_key == key))
    tx.execute(sql_insert(metrics).values(version_key=key, groups=data))


def has_content(tx: Connection, app: AppRef, sha: str) -> resources_pb2.Input | None:
    """An input with these bytes that is frozen in a version of one of the app's data sets."""
    frozen, versions, datasets = tables.frozen_inputs.c, tables.dataset_versions.c, tables.datasets.c
    query = select(frozen.message).join(tables.dataset_versions, versions.key == frozen.dataset_version_key)
    query = query.join(tables.datasets, datasets.key == versions.dataset_key)
    where = (frozen.content_sha == sha, datasets.app_key == app_key(app))
    message = tx.execute(query.where(*where).limit(1)).scalar()
    if message is None:
        return None
    found = resources_pb2.Input()
    found.MergeFromString(message)
    return found
