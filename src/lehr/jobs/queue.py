"""The durable queue: the one truth about work. A job is a row; whoever holds its lease may write on its behalf.

Every claim raises the job's fencing token, and every change of state checks it in its own transaction, so a worker that
lost its lease without noticing cannot change anything any more. Times are the database's clock. Runs nothing itself.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, delete, func, insert, select, update
from sqlalchemy.exc import OperationalError

from lehr.errors import Cancelled, Interrupted, LeaseLost
from lehr.jobs.stalls import Stalls
from lehr.jobs.states import MOVES, State
from lehr.protocol.ids import new_id
from lehr.store.clock import now_ms
from lehr.store.db import Database
from lehr.store.tables import heartbeats, jobs

__all__ = ["MOVES", "Job", "JobView", "Queue", "State"]

log = logging.getLogger(__name__)

LEASE_SECONDS = 15.0
BEAT_SECONDS = 1.0
OUT_OF_REACH_SECONDS = 600.0
"""So long after its lease ran out a run goes on without the database: nobody may have taken the job over."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A claimed job: `token` proves who holds it, `attempt` counts claims from 1."""

    id: str
    kind: str
    payload: Mapping[str, Any]
    subject: str
    token: int
    attempt: int


@dataclass(frozen=True, kw_only=True)
class JobView:
    """A job as anyone may see it. Times are milliseconds since 1970."""

    job: Job
    state: State
    worker: str
    error: str
    created_at: int
    started_at: int | None
    finished_at: int | None


@dataclass
class _Pulse:
    """What this process knows of a job it holds, between two beats."""

    beaten_at: float
    held_until: float
    trouble: Exception | None = None


@dataclass
class Queue:
    """Jobs in the database. Safe to share between threads."""

    db: Database
    _pulses: dict[tuple[str, int], _Pulse] = field(default_factory=dict, init=False, repr=False)
    _stalls: Stalls = field(default_factory=Stalls, init=False, repr=False)
    _lock: Any = field(default_factory=threading.RLock, init=False, repr=False)  # a signal handler may come in between

    def add(
        self, tx: Connection, kind: str, payload: Mapping[str, Any], subject: str, *, delay_seconds: float = 0
    ) -> str:
        """Queues a job, once `tx` commits; answers its id. `payload` must be JSON."""
        row = {
            "id": new_id(),
            "kind": kind,
            "payload": json.dumps(payload),
            "subject": subject,
            "state": State.QUEUED,
            "attempt": 0,
            "token": 0,
            "worker": "",
            "error": "",
            "created_at": now_ms(),
            "not_before": now_ms() + int(delay_seconds * 1000),
        }
        tx.execute(insert(jobs).values(**row))
        return str(row["id"])

    def add_once(self, tx: Connection, kind: str, payload: Mapping[str, Any], subject: str) -> str:
        """As `add`, but a job of this kind and subject that still waits in the queue is taken instead."""
        same = (jobs.c.subject == subject, jobs.c.kind == kind, jobs.c.state == State.QUEUED)
        waiting = tx.execute(select(jobs.c.id).where(*same).limit(1).with_for_update()).scalar()
        return str(waiting) if waiting else self.add(tx, kind, payload, subject)

    def others_wait(self, job: Job) -> bool:
        """Whether any job, of whatever kind, is due but for this one. Cheap: takes no lock."""
        due = (jobs.c.state == State.QUEUED, jobs.c.not_before <= now_ms(), jobs.c.id != job.id)
        with self.db.read() as tx:
            return tx.execute(select(jobs.c.id).where(*due).limit(1)).first() is not None

    def ready(self, *, kinds: Collection[str], but: Collection[str] = ()) -> str | None:
        """Id of the job that a claim of these kinds would get, except those in `but`. Cheap: takes no lock."""
        due, late = _ready(tuple(kinds), tuple(but))
        with self.db.read() as tx:
            return tx.execute(due).scalar() or tx.execute(late).scalar()

    def claim(
        self, worker: str, *, kinds: Collection[str] = (), job_id: str = "", lease_seconds: float = LEASE_SECONDS
    ) -> Job | None:
        """The oldest job of these kinds, or the one of this id, if it is ready; exactly one claimer gets it."""
        with self._claiming() as tx:
            if not self._stalls.are_recent:
                _requeue_expired(tx)
            oldest = (
                select(jobs.c.key)
                .where(_due(kinds, job_id))
                .order_by(jobs.c.key)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            taken = {
                "state": State.RUNNING,
                "token": jobs.c.token + 1,
                "attempt": jobs.c.attempt + 1,
                "worker": worker,
                "started_at": now_ms(),
            }
            statement = update(jobs).where(jobs.c.key == oldest.scalar_subquery()).values(**taken).returning(*jobs.c)
            row = tx.execute(statement).first()
            if row is None:
                return None
            lease = int(lease_seconds * 1000)
            beat = {"job_key": row.key, "token": row.token, "lease_ms": lease, "expires_at": now_ms() + lease}
            tx.execute(insert(heartbeats).values(**beat))
        job = _job(row)
        self._pulse(job, held_for=lease_seconds)
        return job

    @contextmanager
    def _claiming(self) -> Iterator[Connection]:
        """A transaction that takes note of how long it had to wait."""
        began = time.monotonic()
        try:
            with self.db.write() as tx:
                self._stalls.note_wait(began)
                yield tx
        except OperationalError:
            self._stalls.note_wait(began)
            raise

    def beat(self, job: Job) -> None:
        """Keeps the lease. Call it as often as you like, from any thread: it writes at most once a second.

        Raises Cancelled, LeaseLost or Interrupted: stop the work. That the database is out of reach is no reason to
        stop, but for good: what this run writes later is fenced, should somebody have taken the job over meanwhile.
        """
        pulse = self._pulse(job)
        if pulse.trouble is not None:
            raise pulse.trouble
        if time.monotonic() - pulse.beaten_at < BEAT_SECONDS:
            return
        pulse.beaten_at = time.monotonic()
        try:
            pulse.held_until = self._extended(job)
        except (Cancelled, LeaseLost) as trouble:
            pulse.trouble = trouble
            raise
        except OperationalError as error:
            log.warning("the lease of job %s could not be renewed; trying again: %s", job.id, error.orig)
            if time.monotonic() > pulse.held_until + OUT_OF_REACH_SECONDS:
                pulse.trouble = LeaseLost(
                    f"the lease of job {job.id} ran out, the database being out of reach: {error}"
                )
                raise pulse.trouble from error

    def _extended(self, job: Job) -> float:
        """Renews the lease; answers until when it holds on this process's monotonic clock."""
        began = time.monotonic()
        held = and_(heartbeats.c.job_key == _key(job), heartbeats.c.token == job.token)
        with self.db.write() as tx:
            longer = update(heartbeats).where(held).values(expires_at=now_ms() + heartbeats.c.lease_ms)
            lease_ms = tx.execute(longer.returning(heartbeats.c.lease_ms)).scalar()
            if lease_ms is None:
                raise _lost(tx, job)
        return began + float(lease_ms) / 1000

    def interrupt(self, job: Job) -> None:
        """Makes the next `beat` of this process raise Interrupted."""
        self._pulse(job).trouble = Interrupted("this process is ending; the job goes back to the queue")

    def _pulse(self, job: Job, held_for: float = LEASE_SECONDS) -> _Pulse:
        moment = time.monotonic()
        with self._lock:
            return self._pulses.setdefault((job.id, job.token), _Pulse(beaten_at=moment, held_until=moment + held_for))

    def forget(self, job: Job) -> None:
        """Drops what this process remembers of a run that is over."""
        with self._lock:
            self._pulses.pop((job.id, job.token), None)

    def fence(self, tx: Connection, job: Job) -> Job:
        """First in a transaction that writes on behalf of the job; answers the job as it is now.

        Raises LeaseLost or Cancelled if it is not ours.
        """
        held = (jobs.c.id == job.id, jobs.c.token == job.token, jobs.c.state == State.RUNNING)
        row = tx.execute(select(jobs).where(*held).with_for_update()).first()
        if row is None:
            raise _lost(tx, job)
        return _job(row)

    def finish(self, tx: Connection, job: Job) -> None:
        """RUNNING → DONE. Raises as `fence` does, like all moves below."""
        self._move(tx, job, State.DONE, finished_at=now_ms(), error="")

    def fail(self, tx: Connection, job: Job, reason: str) -> None:
        """RUNNING → FAILED, for good, with a sentence."""
        self._move(tx, job, State.FAILED, finished_at=now_ms(), error=_storable(reason))

    def retry(self, tx: Connection, job: Job, *, delay_seconds: float, reason: str) -> None:
        """RUNNING → QUEUED, to be claimed again after the delay."""
        later = now_ms() + int(delay_seconds * 1000)
        self._move(tx, job, State.QUEUED, not_before=later, error=_storable(reason), worker="")

    def release(self, tx: Connection, job: Job) -> None:
        """RUNNING → QUEUED at once, without having used up an attempt."""
        self._move(tx, job, State.QUEUED, attempt=jobs.c.attempt - 1, worker="")

    def progressed(self, tx: Connection, job: Job) -> None:
        """The work got further, durably: attempts count from here again."""
        self.fence(tx, job)
        tx.execute(update(jobs).where(jobs.c.id == job.id).values(attempt=1))

    def _move(self, tx: Connection, job: Job, to: State, **values: Any) -> None:
        assert to in MOVES[State.RUNNING]
        self.fence(tx, job)
        tx.execute(update(jobs).where(jobs.c.id == job.id).values(state=to, **values))
        tx.execute(delete(heartbeats).where(heartbeats.c.job_key == _key(job)))

    def held_by(self, worker: str, job_id: str) -> Job | None:
        """The job of this id if that worker holds it: to settle it in the name of a process that died."""
        with self.db.read() as tx:
            held = (jobs.c.id == job_id, jobs.c.worker == worker, jobs.c.state == State.RUNNING)
            row = tx.execute(select(jobs).where(*held)).first()
            return None if row is None else _job(row)

    def running(self) -> list[JobView]:
        """Every job that somebody holds."""
        with self.db.read() as tx:
            return [_view(row) for row in tx.execute(select(jobs).where(jobs.c.state == State.RUNNING))]

    def cancel(self, tx: Connection, subject: str) -> int:
        """Cancels what waits or runs for this subject; answers how many. A runner notices at its next beat."""
        return _cancel(tx, jobs.c.subject == subject)

    def cancel_under(self, tx: Connection, prefix: str) -> int:
        """Cancels everything whose subject begins so (`user/app/`)."""
        return _cancel(tx, func.substr(jobs.c.subject, 1, len(prefix)) == prefix)

    def view(self, tx: Connection, job_id: str) -> JobView | None:
        """The job of this id."""
        row = tx.execute(select(jobs).where(jobs.c.id == job_id)).first()
        return None if row is None else _view(row)

    def of_subject(self, tx: Connection, subject: str) -> list[JobView]:
        """All jobs for this subject, newest first."""
        query = select(jobs).where(jobs.c.subject == subject).order_by(jobs.c.key.desc())
        return [_view(row) for row in tx.execute(query)]

    def busy_under(self, tx: Connection, path: str) -> list[JobView]:
        """What waits or runs for this subject, or for one below it (`user/app`: also `user/app/model/version`).

        Also what names one below it in its payload: a training of another app that builds on it.
        """
        below = func.substr(jobs.c.subject, 1, len(path) + 1) == f"{path}/"
        named = jobs.c.payload.contains(f'"{path}/', autoescape=True)
        alive = jobs.c.state.in_([State.QUEUED, State.RUNNING])
        return [_view(row) for row in tx.execute(select(jobs).where(alive, below | named | (jobs.c.subject == path)))]

    def counts(self, tx: Connection) -> dict[State, int]:
        """State → number of jobs in it, zeros included."""
        query = select(jobs.c.state, func.count()).group_by(jobs.c.state)
        found = {State(state): int(number) for state, number in tx.execute(query)}
        return {state: found.get(state, 0) for state in State}

    def clear_done(self, tx: Connection, subject: str, *, but: str) -> int:
        """Forgets the jobs of this subject that ended well, but for one; answers how many. For those that recur."""
        done = (jobs.c.subject == subject, jobs.c.state == State.DONE, jobs.c.id != but)
        return tx.execute(delete(jobs).where(*done)).rowcount

    def prune(self, tx: Connection, older_than_seconds: float) -> int:
        """Forgets jobs that ended longer ago than that; answers how many."""
        ended = (State.DONE, State.FAILED, State.CANCELLED)
        before = now_ms() - int(older_than_seconds * 1000)
        return tx.execute(delete(jobs).where(jobs.c.state.in_(ended), jobs.c.finished_at < before)).rowcount


def _due(kinds: Collection[str], job_id: str = "") -> ColumnElement[bool]:
    which = jobs.c.id == job_id if job_id else jobs.c.kind.in_(list(kinds))
    return and_(which, jobs.c.state == State.QUEUED, jobs.c.not_before <= now_ms())


_EXPIRED = and_(
    jobs.c.state == State.RUNNING,
    jobs.c.key.in_(select(heartbeats.c.job_key).where(heartbeats.c.expires_at <= now_ms())),
)


@lru_cache(maxsize=256)
def _ready(kinds: Collection[str], but: Collection[str]) -> tuple[Select[Any], Select[Any]]:
    """What is due, and what is late. Kept, because a worker asks ten times a second and building them takes longest."""
    other = jobs.c.id.not_in(list(but))
    due = select(jobs.c.id).where(_due(kinds), other).order_by(jobs.c.key).limit(1)
    late = select(jobs.c.id).where(_EXPIRED, jobs.c.kind.in_(list(kinds)), other).limit(1)
    return due, late


def _requeue_expired(tx: Connection) -> None:
    """RUNNING → QUEUED for every lease that ran out. Locks jobs before heartbeats, as every other statement here."""
    late = tx.execute(select(jobs.c.key).where(_EXPIRED).with_for_update(skip_locked=True)).scalars().all()
    if not late:
        return
    still = and_(heartbeats.c.job_key.in_(late), heartbeats.c.expires_at <= now_ms())
    keys = tx.execute(delete(heartbeats).where(still).returning(heartbeats.c.job_key)).scalars().all()
    words = "the worker stopped renewing its lease"
    tx.execute(update(jobs).where(jobs.c.key.in_(keys)).values(state=State.QUEUED, worker="", error=words))


def _key(job: Job) -> Any:
    return select(jobs.c.key).where(jobs.c.id == job.id).scalar_subquery()


def _lost(tx: Connection, job: Job) -> Cancelled | LeaseLost:
    row = tx.execute(select(jobs.c.state, jobs.c.token).where(jobs.c.id == job.id)).first()
    if row is None or row.state == State.CANCELLED:
        return Cancelled(f"job {job.id} ({job.kind} of {job.subject}) was cancelled")
    return LeaseLost(f"job {job.id} ({job.kind} of {job.subject}) is no longer held with token {job.token}")


def _cancel(tx: Connection, which: ColumnElement[bool]) -> int:
    alive = jobs.c.state.in_([state for state in State if State.CANCELLED in MOVES[state]])
    cancelled = update(jobs).where(alive, which).values(state=State.CANCELLED, finished_at=now_ms())
    keys = tx.execute(cancelled.returning(jobs.c.key)).scalars().all()
    tx.execute(delete(heartbeats).where(heartbeats.c.job_key.in_(keys)))
    return len(keys)


def _storable(text: str) -> str:
    return text.replace("\0", "\ufffd")[:10_000]  # PostgreSQL text cannot hold NUL


def _job(row: Row[Any]) -> Job:
    return Job(
        id=row.id,
        kind=row.kind,
        payload=json.loads(row.payload),
        subject=row.subject,
        token=row.token,
        attempt=row.attempt,
    )


def _view(row: Row[Any]) -> JobView:
    return JobView(
        job=_job(row),
        state=State(row.state),
        worker=row.worker,
        error=row.error,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
