"""Archives being unpacked: how far each is, written in the same transaction as the inputs that came out of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, select
from sqlalchemy import update as sql_update

from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store import tables
from lehr.store.rows import Noun, app_key, app_key_of, paged

__all__ = ["Reached", "StoredExtraction", "get", "insert", "of_add_job", "of_upload", "page", "set_archive", "update"]

table = tables.extraction_jobs


def _columns(job: resources_pb2.InputsExtractionJob) -> dict[str, Any]:
    return {"id": job.id, "status_code": job.status.code}


_JOBS = Noun(table=table, message=resources_pb2.InputsExtractionJob, columns=_columns, what="extraction job")


@dataclass(frozen=True, kw_only=True)
class Reached:
    """How far an extraction is."""

    position: int = 0
    """Entries of the archive that are dealt with."""
    num_bytes: int = 0
    """Bytes unpacked."""
    num_left_out: int = 0
    """Entries that became no inputs."""
    left_out: tuple[str, ...] = ()
    """The first few of them, each with its reason."""


@dataclass(frozen=True, kw_only=True)
class StoredExtraction:
    """An extraction job with what its message does not say."""

    app: AppRef
    id: str
    add_job_id: str
    user_id: str
    upload_id: str
    """The upload that holds the archive; empty where it comes from a URL, and once the upload is deleted."""
    upload_key: int | None
    archive_sha: str
    reached: Reached
    message: resources_pb2.InputsExtractionJob


def insert(tx: Connection, row: StoredExtraction) -> None:
    """A new one. Raises Duplicate."""
    own = {"add_job_id": row.add_job_id, "user_id": row.user_id, "upload_key": row.upload_key}
    _JOBS.insert(tx, [row.message], app_key=app_key_of(tx, row.app), archive_sha="", **own, **_reached(Reached()))


def _reached(reached: Reached) -> dict[str, Any]:
    return {
        "position": reached.position,
        "num_bytes": reached.num_bytes,
        "num_left_out": reached.num_left_out,
        "left_out": json.dumps(reached.left_out),
    }


def _found(tx: Connection, *where: ColumnElement[bool], newest_first: bool = False) -> Any:
    apps, uploads = tables.apps, tables.uploads
    names = (apps.c.user_id.label("owner_id"), apps.c.id.label("app_id"), uploads.c.id.label("upload_id"))
    joined = table.join(apps, apps.c.key == table.c.app_key).outerjoin(uploads, uploads.c.key == table.c.upload_key)
    order = table.c.key.desc() if newest_first else table.c.key
    return select(table, *names).select_from(joined).where(*where).order_by(order)


def _stored(row: Any) -> StoredExtraction:
    return StoredExtraction(
        app=AppRef(row.owner_id, row.app_id),
        id=row.id,
        add_job_id=row.add_job_id,
        user_id=row.user_id,
        upload_id=row.upload_id or "",
        upload_key=row.upload_key,
        archive_sha=row.archive_sha,
        reached=Reached(
            position=row.position,
            num_bytes=row.num_bytes,
            num_left_out=row.num_left_out,
            left_out=tuple(json.loads(row.left_out)),
        ),
        message=_JOBS.parse(row.message),
    )


def get(tx: Connection, ref: AppRef, job_id: str) -> StoredExtraction | None:
    """The extraction of this id."""
    row = tx.execute(_found(tx, table.c.app_key == app_key(ref), table.c.id == job_id)).first()
    return None if row is None else _stored(row)


def page(tx: Connection, ref: AppRef, *, page: int, per_page: int) -> list[StoredExtraction]:
    """The app's extractions, newest first."""
    query = _found(tx, table.c.app_key == app_key(ref), newest_first=True)
    return [_stored(row) for row in tx.execute(paged(query, page, per_page))]


def of_add_job(tx: Connection, ref: AppRef, add_job_id: str) -> list[StoredExtraction]:
    """Those that count under one inputs-add job, oldest first."""
    query = _found(tx, table.c.app_key == app_key(ref), table.c.add_job_id == add_job_id)
    return [_stored(row) for row in tx.execute(query)]


def of_upload(tx: Connection, upload_keys: Sequence[int]) -> list[StoredExtraction]:
    """Those that read one of these uploads, oldest first."""
    return [_stored(row) for row in tx.execute(_found(tx, table.c.upload_key.in_(upload_keys)))]


def update(tx: Connection, ref: AppRef, job: resources_pb2.InputsExtractionJob, reached: Reached | None = None) -> None:
    """Writes the message, and how far it is where that is given. Raises NotFound."""
    where = (table.c.app_key == app_key(ref), table.c.id == job.id)
    _JOBS.update(tx, job, *where)
    if reached is not None:
        tx.execute(sql_update(table).where(*where).values(**_reached(reached)))


def set_archive(tx: Connection, ref: AppRef, job_id: str, sha: str) -> None:
    """Names the blob that an archive from a URL was fetched into; '' lets go of it."""
    where = (table.c.app_key == app_key(ref), table.c.id == job_id)
    tx.execute(sql_update(table).where(*where).values(archive_sha=sha))
