"""Uploads as their clients follow them: how much of what came under one name is processed."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from sqlalchemy import Connection

from lehr.errors import Duplicate, NotFound
from lehr.jobs.queue import Queue, State
from lehr.protocol import resources_pb2, status_code_pb2, status_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.statuses import status
from lehr.services import extraction_states, ingest
from lehr.services.ingest import close, input_ids_of
from lehr.services.paging import Paging
from lehr.store import add_jobs as add_job_rows
from lehr.store import extractions as extraction_rows
from lehr.store import uploads as upload_rows
from lehr.store.db import Database

_NUM_TOLD = 5
"""Archives that are told by name."""
MAX_WAITING = 16
"""Callers that are made to wait at once; the next ones are answered as things stand."""


@dataclass(frozen=True, kw_only=True)
class AddJobs:
    """Needs the store, and the queue to cancel."""

    db: Database
    queue: Queue
    wait_seconds: float = 2.0
    """Longest that `get` waits. Clients sleep almost 2 s and more between polls, so an answer a moment later is
    one that comes much sooner."""
    poll_seconds: float = 0.03
    _places: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(MAX_WAITING))

    def get(self, ref: AppRef, job_id: str) -> resources_pb2.InputsAddJob:
        """The job, as soon as nothing of it waits any more, or as it stands after `wait_seconds`. Raises NotFound."""
        job = self._now(ref, job_id)
        if _is_over(job) or not self._places.acquire(blocking=False):
            return job
        try:
            deadline, pause = time.monotonic() + self.wait_seconds, self.poll_seconds
            while not _is_over(job) and time.monotonic() < deadline:
                time.sleep(pause)
                began = time.monotonic()
                job = self._now(ref, job_id)
                pause = max(self.poll_seconds, 5 * (time.monotonic() - began))  # counting a large upload takes a while
        finally:
            self._places.release()
        return job

    def list_of(self, ref: AppRef, paging: Paging) -> list[resources_pb2.InputsAddJob]:
        """A page of the app's jobs, newest first."""
        with self.db.read() as tx:
            jobs = add_job_rows.page(tx, ref, page=paging.page, per_page=paging.per_page)
            return [_complete(tx, ref, job) for job in jobs]

    def cancel(self, ref: AppRef, job_id: str) -> resources_pb2.InputsAddJob:
        """Stops the processing: what still waits is marked as failed, what is done stays. Raises NotFound."""
        with self.db.write() as tx:
            job = _found(tx, ref, job_id)
            stopped = [
                extraction_states.cancel(tx, self.queue, extraction, "The upload it is part of was cancelled.")
                for extraction in extraction_rows.of_add_job(tx, ref, job_id)
            ]
            alive = [
                view.job
                for view in self.queue.of_subject(tx, subject(ref, job_id))
                if view.state in (State.QUEUED, State.RUNNING) and view.job.kind == ingest.KIND
            ]
            self.queue.cancel(tx, subject(ref, job_id))
            waiting = [input_id for each in alive for input_id in input_ids_of(each)]
            if close(tx, ref, waiting, "The upload was cancelled before this input was processed.") or any(stopped):
                sentence = "The upload was cancelled; what was processed before stays."
                job.status.CopyFrom(status(status_code_pb2.JOB_CANCELLED, sentence))
                add_job_rows.update(tx, ref, job)
        return self._now(ref, job_id)

    def _now(self, ref: AppRef, job_id: str) -> resources_pb2.InputsAddJob:
        with self.db.read() as tx:
            return now(tx, ref, job_id)


def subject(ref: AppRef, job_id: str) -> str:
    """The queue's name for an upload; no id begins with `+`, so no model is called the same."""
    return f"{ref.user_id}/{ref.app_id}/+inputs/{job_id}"


def open_job(tx: Connection, ref: AppRef, job_id: str) -> None:
    """Makes the job of this id if need be: several uploads may share one."""
    if add_job_rows.get(tx, ref, job_id) is None:
        try:
            add_job_rows.insert(tx, ref, resources_pb2.InputsAddJob(id=job_id))
        except Duplicate:
            pass  # made by another upload since we looked


def now(tx: Connection, ref: AppRef, job_id: str) -> resources_pb2.InputsAddJob:
    """The job as it stands. Raises NotFound."""
    return _complete(tx, ref, _found(tx, ref, job_id))


def count_refused(tx: Connection, ref: AppRef, job_id: str, number: int) -> None:
    """Counts inputs that were not even let in."""
    if number:
        add_job_rows.add_failures(tx, ref, job_id, number)


def _found(tx: Connection, ref: AppRef, job_id: str) -> resources_pb2.InputsAddJob:
    job = add_job_rows.get(tx, ref, job_id)
    if job is None:
        raise NotFound(f"There is no inputs-add job {job_id!r} in app {ref.app_id!r}.")
    return job


def _is_over(job: resources_pb2.InputsAddJob) -> bool:
    is_processed = not job.progress.pending_count and not job.progress.in_progress_count
    return is_processed and all(map(extraction_states.is_over, job.extraction_jobs))


def _complete(tx: Connection, ref: AppRef, job: resources_pb2.InputsAddJob) -> resources_pb2.InputsAddJob:
    """With the archives that count under it, and with a status."""
    for extraction in extraction_rows.of_add_job(tx, ref, job.id):
        job.extraction_jobs.append(extraction.message)
        if extraction.upload_id and (upload := upload_rows.get(tx, ref, extraction.upload_id)):
            job.uploads.append(upload.message)
    if not job.status.code:
        job.status.CopyFrom(_outcome(job) if _is_over(job) else status(status_code_pb2.JOB_RUNNING))
    return job


def _outcome(job: resources_pb2.InputsAddJob) -> status_pb2.Status:
    """How a job ended: as its archives did, if none of them was unpacked to its end; told of each that was not."""
    bad = [each for each in job.extraction_jobs if each.status.code != extraction_states.COMPLETED]
    if not bad:
        return status(status_code_pb2.JOB_COMPLETED)
    sentence = f"{len(bad)} of {len(job.extraction_jobs)} archives not unpacked to the end: " + "; ".join(
        f"{each.id}: {each.status.details or each.status.description}" for each in bad[:_NUM_TOLD]
    )
    if len(bad) < len(job.extraction_jobs):
        return status(status_code_pb2.JOB_COMPLETED, sentence)
    is_cancelled = all(each.status.code == extraction_states.CANCELLED for each in bad)
    return status(status_code_pb2.JOB_CANCELLED if is_cancelled else status_code_pb2.JOB_FAILED, sentence)
