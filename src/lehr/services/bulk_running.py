"""The worker's half of bulk operations: batch by batch, each with how far it is by then in one transaction."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Connection

from lehr.errors import LehrError
from lehr.jobs.queue import Job, Queue
from lehr.protocol.ids import AppRef
from lehr.protocol.statuses import status
from lehr.services.bulk_changes import Change, split
from lehr.services.bulk_operations import FAILED, IN_PROGRESS, PENDING, SUCCESS, start
from lehr.services.bulk_sources import Source
from lehr.store import bulk_operations as rows
from lehr.store import inputs as input_rows
from lehr.store.bulk_operations import StoredOperation
from lehr.store.db import Database

BATCH = 200


@dataclass(frozen=True, kw_only=True)
class BulkRunning:
    """Needs the store and the queue."""

    db: Database
    queue: Queue
    batch: int = BATCH
    """Inputs in one transaction."""
    turn_seconds: float = 30.0
    """A run that took so long lets others have their turn."""

    def run(self, job: Job) -> None:
        """Goes on where the operation is. Raises Cancelled, LeaseLost or what a change cannot do."""
        ref, deadline = _app_of(job), time.monotonic() + self.turn_seconds
        with self.db.write() as tx:
            self.queue.fence(tx, job)
            begun = self._begun(tx, ref, job)
            whole = begun.message.progress.processed + len(self._source(job, begun).keys(tx)) if begun else 0
            change = self._change(tx, job, begun) if begun else None
        while change is not None:
            self.queue.beat(job)
            if not self._step(job, change, whole):
                return None
            if time.monotonic() > deadline:
                return self._take_turns(job, ref)
        return None

    def failed(self, tx: Connection, job: Job, error: Exception) -> None:
        """In the transaction that gives a job up: the operation says why. What it changed stays."""
        stored = rows.get(tx, _app_of(job), str(job.payload["operation_id"]))
        if stored is not None:
            known = error.details if isinstance(error, LehrError) else "the server had trouble; its log says more"
            done = stored.message.progress.processed
            sentence = f"Stopped after {done:,} were done: {known}"
            stored.message.status.CopyFrom(status(FAILED, sentence, http=200))
            rows.update(tx, _app_of(job), stored.message)

    def _begun(self, tx: Connection, ref: AppRef, job: Job) -> StoredOperation | None:
        """The operation, under way; None if there is nothing to do any more."""
        operation_id = str(job.payload["operation_id"])
        stored = rows.get(tx, ref, operation_id)
        if stored is None or stored.message.status.code not in (PENDING, IN_PROGRESS):
            return None
        if not stored.last_key:
            of_annotations = stored.message.HasField("annotation_search")
            rows.start(tx, ref, operation_id, rows.last_key(tx, ref, of_annotations=of_annotations))
        stored.message.status.CopyFrom(status(IN_PROGRESS))
        rows.update(tx, ref, stored.message)
        return rows.get(tx, ref, operation_id)

    @staticmethod
    def _source(job: Job, stored: StoredOperation) -> Source:
        return Source(ref=_app_of(job), stored=stored, input_ids=job.payload["input_ids"])

    def _change(self, tx: Connection, job: Job, stored: StoredOperation) -> Change:
        operation = stored.message.operation
        splits: dict[int, str] = {}
        if operation.WhichOneof("operation") == "split_into_datasets":
            whole = StoredOperation(message=stored.message, position=0, last_key=stored.last_key)
            keys = self._source(job, whole).keys(tx)
            splits = split(stored.message.id, operation.split_into_datasets, keys)
        return Change(ref=_app_of(job), user_id=stored.message.created_by, operation=operation, splits=splits)

    def _step(self, job: Job, change: Change, whole: int) -> bool:
        """One batch; False when there was none left, and the operation is done."""
        ref, operation_id = change.ref, str(job.payload["operation_id"])
        with self.db.write() as tx:
            self.queue.progressed(tx, job)
            input_rows.lock(tx, ref)
            stored = rows.get(tx, ref, operation_id)
            assert stored is not None, "a deleted operation's job is cancelled with it"
            message, keys = stored.message, self._source(job, stored).keys(tx, self.batch)
            if keys:
                ids = change.apply(tx, keys)
                message.progress.processed += len(ids)
                message.progress.last_processed_id = ids[-1] if ids else message.progress.last_processed_id
                percent = min(99, 100 * message.progress.processed // max(1, whole))
                message.status.CopyFrom(status(IN_PROGRESS, percent_completed=percent))
                rows.advance(tx, ref, operation_id, keys[-1])
            else:
                message.status.CopyFrom(status(SUCCESS, _done(stored), percent_completed=100))
            rows.update(tx, ref, message)
        return bool(keys)

    def _take_turns(self, job: Job, ref: AppRef) -> None:
        with self.db.write() as tx:
            self.queue.finish(tx, job)
            start(tx, self.queue, ref, str(job.payload["operation_id"]), job.payload["input_ids"])


def _done(stored: StoredOperation) -> str:
    done = stored.message.progress.processed
    named = len(stored.message.input_ids.input_ids)
    missing = f" {named - done:,} of the {named:,} that were named do not exist." if named > done else ""
    return f"{done:,} were dealt with.{missing}"


def _app_of(job: Job) -> AppRef:
    return AppRef(str(job.payload["user_id"]), str(job.payload["app_id"]))
