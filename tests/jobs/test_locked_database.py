"""A database that another process keeps locked for a while: nothing is lost, nobody's work is taken away."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import lehr.jobs.stalls
from lehr.jobs.queue import Job, Queue, State
from lehr.jobs.runs import perform
from lehr.store.db import Database

HOLDER = Path(__file__).with_name("lock_holder.py")


@contextmanager
def locked(db: Database, seconds: float) -> Iterator[None]:
    """Another process holds the write lock from the beginning of this block, for so long."""
    command = [sys.executable, str(HOLDER), str(db.path), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        yield
        holder.wait()


@pytest.fixture
def hasty(queue: Queue) -> Iterator[Queue]:
    """The queue as another process has it that waits for no lock longer than a moment."""
    db = Database(queue.db.url.render_as_string(), busy_seconds=0.1)
    yield Queue(db)
    db.close()


def claimed(queue: Queue, job_id: str, lease_seconds: float) -> Job:
    job = queue.claim("w", job_id=job_id, lease_seconds=lease_seconds)
    assert job is not None
    return job


def state(queue: Queue, job: Job) -> tuple[State, int, str]:
    with queue.db.read() as tx:
        view = queue.view(tx, job.id)
    assert view is not None
    return view.state, view.job.token, view.error


def test_a_run_goes_on_and_keeps_its_lease_though_it_could_not_be_renewed_in_time(queue, hasty, add) -> None:
    job = claimed(hasty, add("train"), lease_seconds=0.5)
    beats: list[float] = []

    def run(job: Job) -> None:
        with locked(queue.db, 3):
            while not (beats and time.monotonic() - beats[0] > 2):
                hasty.beat(job)
                beats.append(time.monotonic())
                time.sleep(0.05)
        until_renewed(queue, job)

    perform(hasty, job, run, {})
    assert state(queue, job) == (State.DONE, job.token, "")


def until_renewed(queue: Queue, job: Job) -> None:
    """Only the thread beside the run beats now."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with queue.db.read() as tx:
            left = tx.exec_driver_sql("SELECT expires_at FROM heartbeats").scalar()
        if left > 1000 * time.time():
            return
        time.sleep(0.02)
    raise AssertionError("nobody renewed the lease")


def test_a_run_that_failed_by_the_lock_is_put_back_and_not_left_to_die(queue, hasty, add) -> None:
    job = claimed(hasty, add("train"), lease_seconds=60)

    def run(job: Job) -> None:
        with hasty.db.write():
            raise AssertionError("the lock is held")

    with locked(queue.db, 2):
        perform(hasty, job, run, {})
    found, token, error = state(queue, job)
    assert (found, token) == (State.QUEUED, job.token)
    assert "database is locked" in error


def test_after_a_stall_leases_may_be_renewed_before_they_are_taken_and_dead_ones_are_taken_later(
    queue: Queue, add: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lehr.jobs.stalls, "CATCH_UP_SECONDS", 2.0)
    other = Queue(Database(queue.db.url.render_as_string()))
    job, over = claimed(queue, add("train"), lease_seconds=1.5), threading.Event()
    runs = threading.Thread(target=perform, args=(queue, job, lambda job: over.wait(60), {}))
    runs.start()
    with locked(queue.db, 4):
        assert other.claim("next", kinds=["train"]) is None, "waited, and the lease had run out meanwhile"
    for _ in range(20):
        assert other.claim("next", kinds=["train"]) is None
        time.sleep(0.02)
    over.set()
    runs.join()
    assert state(queue, job) == (State.DONE, job.token, "")

    dead = claimed(queue, add("train"), lease_seconds=0)
    with locked(queue.db, 1):
        assert other.claim("next", kinds=["train"]) is None
    time.sleep(2.0)
    taken = other.claim("next", kinds=["train"])
    assert taken is not None
    assert (taken.id, taken.token) == (dead.id, dead.token + 1)
    other.db.close()


def test_on_a_database_that_stalls_for_good_a_dead_ones_job_is_taken_over_all_the_same(
    queue: Queue, add: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = claimed(queue, add("train"), lease_seconds=0)
    monkeypatch.setattr(lehr.jobs.stalls, "STALL_SECONDS", -1.0)  # every claim counts as one that waited long
    monkeypatch.setattr(lehr.jobs.stalls, "MOST_CATCH_UP_SECONDS", 0.5)
    assert queue.claim("next", kinds=["train"]) is None
    time.sleep(0.3)
    assert queue.claim("next", kinds=["train"]) is None
    time.sleep(0.3)
    taken = queue.claim("next", kinds=["train"])
    assert taken is not None
    assert (taken.id, taken.token) == (dead.id, dead.token + 1)
