"""Where the unpacking of an archive stands: waiting for its upload, queued, running, or ended in one of four ways.

Moves are written in the caller's transaction. The unpacking itself is services/extracting.py.
"""

from __future__ import annotations

from sqlalchemy import Connection

from lehr.jobs.queue import Queue
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.statuses import status
from lehr.store import extractions as extraction_rows
from lehr.store.extractions import StoredExtraction

KIND = "extract"
QUEUED, RUNNING, COMPLETED = status_code_pb2.JOB_QUEUED, status_code_pb2.JOB_RUNNING, status_code_pb2.JOB_COMPLETED
FAILED, CANCELLED = status_code_pb2.JOB_FAILED, status_code_pb2.JOB_CANCELLED
BAD_ARCHIVE = status_code_pb2.ARCHIVE_EXTRACT_FAILED
_FINAL = frozenset({COMPLETED, FAILED, CANCELLED, BAD_ARCHIVE})
_COUNTED_AS = {
    QUEUED: "pending_archives_count",
    RUNNING: "in_progress_archives_count",
    COMPLETED: "completed_archives_count",
    FAILED: "failed_archives_count",
    CANCELLED: "failed_archives_count",
    BAD_ARCHIVE: "failed_archives_count",
}


def subject(ref: AppRef, extraction_id: str) -> str:
    """The queue's name for an extraction."""
    return f"{ref.user_id}/{ref.app_id}/+extractions/{extraction_id}"


def is_over(job: resources_pb2.InputsExtractionJob) -> bool:
    """Whether nothing follows."""
    return job.status.code in _FINAL


def start(tx: Connection, queue: Queue, ref: AppRef, extraction_id: str) -> None:
    """Queues the work: its archive is complete, or is to be fetched."""
    payload = {"user_id": ref.user_id, "app_id": ref.app_id, "extraction_id": extraction_id}
    queue.add(tx, KIND, payload, subject(ref, extraction_id))


def say(job: resources_pb2.InputsExtractionJob, code: int, sentence: str = "", percent: int = 0) -> None:
    """Gives the message its status, and the counts of archives that follow from it."""
    job.status.CopyFrom(status(code, sentence, percent_completed=percent))
    for name in set(_COUNTED_AS.values()):
        setattr(job.progress, name, int(name == _COUNTED_AS[code]))


def end(tx: Connection, stored: StoredExtraction, code: int, sentence: str = "") -> bool:
    """Ends an extraction that has not ended; False if it had."""
    if is_over(stored.message):
        return False
    say(stored.message, code, sentence, percent=100 if code == COMPLETED else 0)
    extraction_rows.update(tx, stored.app, stored.message)
    extraction_rows.set_archive(tx, stored.app, stored.id, "")
    return True


def cancel(tx: Connection, queue: Queue, stored: StoredExtraction, sentence: str) -> bool:
    """Stops it wherever it is: the inputs that came out of the archive stay. False if it had ended."""
    queue.cancel(tx, subject(stored.app, stored.id))
    return end(tx, stored, CANCELLED, sentence)
