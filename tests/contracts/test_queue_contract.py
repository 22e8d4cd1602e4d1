"""The durable queue, on every database."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lehr.errors import Cancelled, Interrupted, LeaseLost
from lehr.jobs.queue import MOVES, Job, Queue, State
from lehr.store.db import Database


@pytest.fixture
def queue(db: Database) -> Queue:
    return Queue(db)


def _add(queue: Queue, kind: str = "train", subject: str = "ann/zoo/m/v", **options) -> str:
    with queue.db.write() as tx:
        return queue.add(tx, kind, {"epochs": 2}, subject, **options)


def _state(queue: Queue, job_id: str) -> State:
    with queue.db.read() as tx:
        view = queue.view(tx, job_id)
    assert view is not None
    return view.state


def _expired(queue: Queue, job_id: str) -> Job:
    """Claimed on a lease that has run out already."""
    job = queue.claim("gone", job_id=job_id, lease_seconds=0)
    assert job is not None
    time.sleep(0.01)
    return job


def test_jobs_are_claimed_in_the_order_they_came_and_only_of_the_kinds_asked_for(queue: Queue) -> None:
    first, other, second = _add(queue), _add(queue, kind="thumb"), _add(queue)
    assert queue.ready(kinds=["train"]) == first
    assert queue.ready(kinds=["train"], but=[first]) == second
    claimed = [queue.claim("w", kinds=["train"]) for _ in range(3)]
    assert [job and job.id for job in claimed] == [first, second, None]
    assert queue.others_wait(claimed[0])
    job = queue.claim("w", job_id=other)
    assert not queue.others_wait(claimed[0])
    assert (job.kind, job.payload, job.subject, job.attempt, job.token) == ("thumb", {"epochs": 2}, "ann/zoo/m/v", 1, 1)
    assert queue.claim("w", job_id=other) is None
    assert queue.ready(kinds=["train", "thumb"]) is None


def test_a_job_that_was_never_committed_is_never_seen(queue: Queue) -> None:
    with pytest.raises(ZeroDivisionError), queue.db.write() as tx:  # noqa: PT012
        queue.add(tx, "train", {}, "s")
        raise ZeroDivisionError
    assert queue.claim("w", kinds=["train"]) is None


def test_many_claimers_at_once_get_each_job_exactly_once(queue: Queue) -> None:
    added = {_add(queue) for _ in range(30)}
    barrier = threading.Barrier(6)

    def take_all(worker: int) -> list[str]:
        barrier.wait()
        found = []
        while (job := queue.claim(f"w{worker}", kinds=["train"])) is not None:
            found.append(job.id)
        return found

    with ThreadPoolExecutor(6) as pool:
        claims = list(itertools.chain(*pool.map(take_all, range(6))))
    # on PostgreSQL a claimer that saw only rows locked by others goes away empty: what is left is still there
    while (job := queue.claim("last", kinds=["train"])) is not None:
        claims.append(job.id)
    assert sorted(claims) == sorted(added)


def test_a_finished_job_stays_finished(queue: Queue) -> None:
    job_id = _add(queue)
    job = queue.claim("w", job_id=job_id)
    with queue.db.write() as tx:
        assert queue.fence(tx, job) == job
        queue.finish(tx, job)
    assert _state(queue, job_id) is State.DONE
    with pytest.raises(LeaseLost), queue.db.write() as tx:
        queue.fail(tx, job, "too late")
    assert _state(queue, job_id) is State.DONE


def test_a_lease_that_ran_out_sends_the_job_to_the_next_and_locks_the_old_one_out(queue: Queue) -> None:
    job_id = _add(queue)
    old = _expired(queue, job_id)
    assert queue.ready(kinds=["train"]) == job_id
    new = queue.claim("w", kinds=["train"])
    assert (new.id, new.token, new.attempt) == (job_id, old.token + 1, 2)
    for write in (queue.fence, queue.finish, queue.release, queue.progressed):
        with pytest.raises(LeaseLost), queue.db.write() as tx:
            write(tx, old)
    queue._pulse(old).beaten_at = float("-inf")
    with pytest.raises(LeaseLost):
        queue.beat(old)
    with queue.db.write() as tx:
        queue.finish(tx, new)


def test_a_late_beat_keeps_a_lease_that_nobody_took(queue: Queue) -> None:
    job_id = _add(queue)
    job = queue.claim("w", job_id=job_id, lease_seconds=0.05)
    time.sleep(0.1)
    queue._pulse(job).beaten_at = float("-inf")
    queue.beat(job)
    with queue.db.write() as tx:
        queue.finish(tx, job)


def test_beats_write_at_most_once_a_second(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    job = queue.claim("w", job_id=_add(queue))
    writes = []
    monkeypatch.setattr(queue, "_extended", lambda job: writes.append(job) or 0.0)
    for _ in range(1000):
        queue.beat(job)
    queue._pulse(job).beaten_at -= 1.0
    for _ in range(1000):
        queue.beat(job)
    assert len(writes) == 1


def test_cancelling_reaches_what_waits_and_what_runs_and_no_one_else(queue: Queue) -> None:
    waiting, running, other = _add(queue), _add(queue), _add(queue, subject="ann/zoo/m/v2")
    job = queue.claim("w", job_id=running)
    with queue.db.write() as tx:
        assert queue.cancel(tx, "ann/zoo/m/v") == 2
        assert queue.cancel(tx, "ann/zoo/m/v") == 0
    assert [_state(queue, one) for one in (waiting, running, other)] == [State.CANCELLED, State.CANCELLED, State.QUEUED]
    queue._pulse(job).beaten_at = float("-inf")
    for _ in range(2):
        with pytest.raises(Cancelled):
            queue.beat(job)
    with pytest.raises(Cancelled), queue.db.write() as tx:
        queue.finish(tx, job)


def test_cancelling_under_a_prefix_takes_it_literally(queue: Queue) -> None:
    inside = _add(queue, subject="ann/z_o/m/v")
    outside = [_add(queue, subject=subject) for subject in ("ann/zoo/m/v", "ann/Z_o/m/v", "ann/z_oo/m/v")]
    with queue.db.write() as tx:
        assert queue.cancel_under(tx, "ann/z_o/") == 1
    assert _state(queue, inside) is State.CANCELLED
    assert {_state(queue, one) for one in outside} == {State.QUEUED}


def test_retries_wait_releases_do_not_and_progress_starts_the_count_over(queue: Queue) -> None:
    job_id = _add(queue)
    job = queue.claim("w", job_id=job_id)
    with queue.db.write() as tx:
        queue.retry(tx, job, delay_seconds=60, reason="disk \0 full")
        assert queue.view(tx, job_id).error == "disk \ufffd full"
    assert queue.claim("w", job_id=job_id) is None, "it is not due yet"
    again = _add(queue)
    job = queue.claim("w", job_id=again)
    with queue.db.write() as tx:
        queue.release(tx, job)
    job = queue.claim("w", job_id=again)
    assert (job.attempt, job.token) == (1, 2)
    with queue.db.write() as tx:
        queue.retry(tx, job, delay_seconds=0, reason="once")
    job = queue.claim("w", job_id=again)
    assert job.attempt == 2
    with queue.db.write() as tx:
        queue.progressed(tx, job)
        assert queue.fence(tx, job).attempt == 1


def test_a_delayed_job_waits(queue: Queue) -> None:
    _add(queue, delay_seconds=60)
    assert queue.ready(kinds=["train"]) is None
    assert queue.claim("w", kinds=["train"]) is None


def test_adding_once_joins_a_job_that_still_waits_but_not_one_that_runs(queue: Queue) -> None:
    def add_once() -> str:
        with queue.db.write() as tx:
            return queue.add_once(tx, "process", {}, "ann/zoo")

    first = add_once()
    assert add_once() == first
    queue.claim("w", job_id=first)
    assert add_once() != first


def test_an_interrupted_run_hears_of_it_at_its_next_beat(queue: Queue) -> None:
    job = queue.claim("w", job_id=_add(queue))
    queue.beat(job)
    queue.interrupt(job)
    with pytest.raises(Interrupted):
        queue.beat(job)


def test_the_books_balance_and_old_entries_can_be_forgotten(queue: Queue) -> None:
    done, _, running = _add(queue), _add(queue), _add(queue)
    job = queue.claim("w", job_id=done)
    with queue.db.write() as tx:
        queue.finish(tx, job)
    queue.claim("me:1", job_id=running)
    assert queue.held_by("me:1", running).id == running
    assert queue.held_by("you:1", running) is None
    assert [view.worker for view in queue.running()] == ["me:1"]
    time.sleep(0.01)
    with queue.db.write() as tx:
        counts = queue.counts(tx)
        assert counts == {State.QUEUED: 1, State.RUNNING: 1, State.DONE: 1, State.FAILED: 0, State.CANCELLED: 0}
        assert queue.prune(tx, 3600) == 0
        assert queue.prune(tx, 0) == 1
        assert queue.view(tx, done) is None


def test_from_an_end_nothing_moves() -> None:
    assert {state for state in State if state.is_final} == {State.DONE, State.FAILED, State.CANCELLED}
    assert set(MOVES) == set(State)
