"""Uploads in progress: how many of the inputs that came under one name are processed. Counted, never kept."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, func, select
from sqlalchemy import update as sql_update

from lehr.errors import NotFound
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.store import tables
from lehr.store.rows import Noun, app_key, app_key_of, paged

__all__ = ["add_failures", "get", "insert", "page", "update"]

table = tables.add_jobs
_ADD_JOBS = Noun(
    table=table, message=resources_pb2.InputsAddJob, columns=lambda job: {"id": job.id}, what="inputs-add job"
)


def insert(tx: Connection, ref: AppRef, job: resources_pb2.InputsAddJob) -> None:
    """Raises Duplicate."""
    _ADD_JOBS.insert(tx, [job], app_key=app_key_of(tx, ref), num_refused=0)


def get(tx: Connection, ref: AppRef, job_id: str) -> resources_pb2.InputsAddJob | None:
    """The job of this id, its progress as of now."""
    row = tx.execute(select(table).where(table.c.app_key == app_key(ref), table.c.id == job_id)).first()
    return None if row is None else _with_progress(tx, row)


def page(tx: Connection, ref: AppRef, *, page: int, per_page: int) -> list[resources_pb2.InputsAddJob]:
    """The app's jobs, newest first, their progress as of now."""
    query = select(table).where(table.c.app_key == app_key(ref)).order_by(table.c.key.desc())
    return [_with_progress(tx, row) for row in tx.execute(paged(query, page, per_page)).all()]


def _with_progress(tx: Connection, row: Row[Any]) -> resources_pb2.InputsAddJob:
    job = _ADD_JOBS.parse(row.message)
    inputs = tables.inputs.c
    of_job = (inputs.app_key == row.app_key, inputs.add_job_id == row.id)
    counts = tx.execute(select(inputs.status_code, func.count()).where(*of_job).group_by(inputs.status_code))
    job.progress.CopyFrom(_progress({int(code): int(number) for code, number in counts}, row.num_refused))
    return job


def _progress(counts: dict[int, int], num_refused: int) -> resources_pb2.InputsAddJobProgress:
    success = counts.pop(status_code_pb2.INPUT_DOWNLOAD_SUCCESS, 0)
    waiting = counts.pop(status_code_pb2.INPUT_DOWNLOAD_PENDING, 0)
    working = counts.pop(status_code_pb2.INPUT_DOWNLOAD_IN_PROGRESS, 0)
    return resources_pb2.InputsAddJobProgress(
        pending_count=waiting,
        in_progress_count=working,
        success_count=success,
        failed_count=sum(counts.values()) + num_refused,
    )


def update(tx: Connection, ref: AppRef, job: resources_pb2.InputsAddJob) -> None:
    """Writes the message, but for its progress. Raises NotFound."""
    kept = resources_pb2.InputsAddJob()
    kept.CopyFrom(job)
    kept.ClearField("progress")
    _ADD_JOBS.update(tx, kept, table.c.app_key == app_key(ref), table.c.id == job.id)


def add_failures(tx: Connection, ref: AppRef, job_id: str, count: int) -> None:
    """Counts items that were refused before they became inputs. Raises NotFound."""
    where = (table.c.app_key == app_key(ref), table.c.id == job_id)
    changed = tx.execute(sql_update(table).where(*where).values(num_refused=table.c.num_refused + count))
    if changed.rowcount == 0:
        raise NotFound(f"there is no inputs-add job {job_id!r}")
