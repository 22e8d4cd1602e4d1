"""One run of one claimed job, in whichever process: call its function, keep its lease, settle how it ended."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from lehr.errors import Cancelled, Interrupted, LeaseLost, LehrError, WorkerDied
from lehr.jobs.launcher import worker_name
from lehr.jobs.queue import BEAT_SECONDS, Job, Queue
from lehr.jobs.retry import MAX_ATTEMPTS, GiveUp, after_failure, sentence

__all__ = ["Failed", "Kinds", "Run", "may_be_missing", "perform", "run_job", "settle_failure"]

log = logging.getLogger(__name__)

SETTLE_SECONDS = 60.0
"""So long a failure is tried to be written down."""

Run = Callable[[Job], None]
Failed = Callable[[Connection, Job, Exception], None]


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """The kinds of job there are, and where each runs."""

    in_process: Mapping[str, Run] = field(default_factory=dict)
    """Small jobs: run in the worker's own threads."""
    launched: frozenset[str] = frozenset()
    """Large jobs: each runs in a process of its own."""
    beside: frozenset[str] = frozenset()
    """Launched too, but shorter ones, which do not wait behind the others: a training may take days."""
    failed: Mapping[str, Failed] = field(default_factory=dict)
    """Called, with the error, in the transaction that fails a job for good."""


def perform(queue: Queue, job: Job, run: Run, failed: Mapping[str, Failed]) -> None:
    """Runs a claimed job while a thread keeps its lease, and settles it. Raises nothing that the run raised."""
    try:
        if job.attempt > MAX_ATTEMPTS:  # whoever ran it never lived to say so
            raise WorkerDied(f"the worker of this job died {MAX_ATTEMPTS} times without getting any further")
        with _beating(queue, job):
            run(job)
        _finish(queue, job)
    except (Cancelled, LeaseLost) as stop:
        log.info("%s", stop)
    except Interrupted:
        _release(queue, job)
    except Exception as error:
        if not isinstance(error, LehrError):
            log.exception("job %s (%s of %s) failed", job.id, job.kind, job.subject)
        _settle_patiently(queue, job, error, failed)
    finally:
        queue.forget(job)


def _settle_patiently(queue: Queue, job: Job, error: Exception, failed: Mapping[str, Failed]) -> None:
    """As `settle_failure`; a database that is away, which may be what failed the run, is given time to come back."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            settle_failure(queue, job, error, failed)
        except OperationalError as trouble:
            if time.monotonic() > deadline:
                raise
            log.warning("job %s cannot be settled yet: %s", job.id, trouble)
            time.sleep(BEAT_SECONDS)
        else:
            return


@contextmanager
def _beating(queue: Queue, job: Job) -> Iterator[None]:
    """Renews the lease from a thread until the block ends, or the lease is lost for good."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_SECONDS):
            try:
                queue.beat(job)
            except LehrError:
                return  # the run's own next beat raises it

    thread = threading.Thread(target=beat, name=f"beat {job.id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _finish(queue: Queue, job: Job) -> None:
    """Finishes the job unless its run did so itself, in its own last transaction."""
    with queue.db.write() as tx:
        view = queue.view(tx, job.id)
        if view is not None and view.state.is_final and view.job.token == job.token:
            return
        queue.finish(tx, job)


def _release(queue: Queue, job: Job) -> None:
    try:
        with queue.db.write() as tx:
            queue.release(tx, job)
    except (Cancelled, LeaseLost) as stop:
        log.info("%s", stop)


def settle_failure(queue: Queue, job: Job, error: Exception, failed: Mapping[str, Failed]) -> None:
    """Puts the job back or fails it for good, as `after_failure` decides; `failed` writes in the same transaction."""
    try:
        with queue.db.write() as tx:
            present = queue.fence(tx, job)
            match after_failure(present.attempt, error):
                case GiveUp(reason):
                    queue.fail(tx, present, reason)
                    if job.kind in failed:
                        failed[job.kind](tx, present, error)
                    log.warning("job %s (%s of %s) failed: %s", job.id, job.kind, job.subject, reason)
                case retry:
                    queue.retry(tx, present, delay_seconds=retry.seconds, reason=sentence(error))
    except (Cancelled, LeaseLost) as stop:
        log.info("%s", stop)


@contextmanager
def may_be_missing(what: str, job: Job) -> Iterator[None]:
    """Around a write without which a run can go on: a database that is away for a while is no reason to end it."""
    try:
        yield
    except OperationalError as error:
        log.warning("%s of job %s was not written, the database is out of reach: %s", what, job.id, error.orig)


def run_job(queue: Queue, job_id: str, runs: Mapping[str, Run], failed: Mapping[str, Failed]) -> bool:
    """What a launched process does with its life: claim the job, run it, settle it. False if it was not to be had.

    SIGTERM makes the job's next beat raise Interrupted. Call it from the main thread.
    """
    job = queue.claim(worker_name(os.getpid()), job_id=job_id)
    if job is None:
        return False
    signal.signal(signal.SIGTERM, lambda *_: queue.interrupt(job))
    parent = os.getppid()
    threading.Thread(target=_end_without, args=(parent,), name="orphan check", daemon=True).start()
    perform(queue, job, runs[job.kind], failed)
    return True


def _end_without(parent: int) -> None:
    """The same promise as the leash's, where the kernel gives none: an orphan ends within a second."""
    while os.getppid() == parent:
        threading.Event().wait(BEAT_SECONDS)
    os._exit(1)
