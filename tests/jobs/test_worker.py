"""Workers with real threads, real processes and a real queue."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import lehr.jobs.retry
from lehr.errors import Cancelled, Interrupted, NoPositives, WorkerDied
from lehr.jobs.launcher import LocalLauncher, _is_running, is_dead, worker_name
from lehr.jobs.queue import Queue, State
from lehr.jobs.worker import Kinds, Worker
from lehr.protocol import resources_pb2
from lehr.store import users

HERE = Path(__file__).parent
TRAIN = frozenset({"train"})


@pytest.fixture
def launcher(queue: Queue) -> LocalLauncher:
    url = queue.db.url.render_as_string(hide_password=False)
    return LocalLauncher([sys.executable, str(HERE / "trainer_process.py"), url])


@pytest.fixture
def launching(queue: Queue, launcher: LocalLauncher, working) -> Worker:
    """A worker at work that launches trainers."""
    return working(Worker(queue, Kinds(launched=TRAIN), launcher))


@pytest.fixture
def pids(tmp_path: Path) -> Path:
    """Where trainers note their process ids."""
    return tmp_path / "pids"


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lehr.jobs.retry, "LONGEST_SECONDS", 0.01)


def _pids(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def test_small_jobs_run_in_the_workers_own_threads(queue, add, ended, working) -> None:
    seen = []
    working(Worker(queue, Kinds(in_process={"thumb": lambda job: seen.append((job.payload["n"], os.getpid()))})))
    jobs = [add("thumb", n=number) for number in range(5)]
    assert {ended(job).state for job in jobs} == {State.DONE}
    assert sorted(seen) == [(number, os.getpid()) for number in range(5)]


def test_no_more_small_jobs_run_at_once_than_there_are_threads(queue, add, ended, working) -> None:
    running, most, lock = [], [], threading.Lock()

    def run(job) -> None:
        with lock:
            running.append(job)
            most.append(len(running))
        threading.Event().wait(0.02)
        with lock:
            running.remove(job)

    working(Worker(queue, Kinds(in_process={"thumb": run}), threads=3))
    for job in [add("thumb") for _ in range(20)]:
        ended(job)
    assert max(most) <= 3


def test_a_run_may_finish_its_job_in_its_own_last_transaction(queue, add, ended, working) -> None:
    def run(job) -> None:
        with queue.db.write() as tx:
            users.insert(tx, resources_pb2.User(id="made"))
            queue.finish(tx, job)

    working(Worker(queue, Kinds(in_process={"make": run})))
    assert ended(add("make")).state is State.DONE
    with queue.db.read() as tx:
        assert users.count(tx) == 1


@pytest.mark.usefixtures("quick_retries")
def test_a_failing_job_is_tried_again_and_its_failure_is_written_with_its_end(queue, add, ended, working) -> None:
    attempts, failures = [], []

    def run(job) -> None:
        attempts.append(job.attempt)
        raise ValueError("broken")

    def failed(tx, job, error) -> None:
        assert queue.view(tx, job.id).state is State.FAILED, "it is one transaction"
        failures.append((job.subject, error))

    working(Worker(queue, Kinds(in_process={"bad": run}, failed={"bad": failed})))
    view = ended(add("bad", subject="ann/zoo"))
    assert (view.state, attempts) == (State.FAILED, [1, 2, 3])
    assert view.error == "ValueError: broken (given up after 3 attempts)"
    ((subject, error),) = failures
    assert subject == "ann/zoo"
    assert isinstance(error, ValueError)


def test_a_small_job_hears_that_it_was_cancelled_and_writes_nothing_more(queue, add, ended, working, until) -> None:
    began, heard = threading.Event(), threading.Event()

    def run(job) -> None:
        began.set()
        try:
            while True:
                queue.beat(job)
                threading.Event().wait(0.01)
        except Cancelled:
            heard.set()
            raise

    working(Worker(queue, Kinds(in_process={"long": run})))
    job_id = add("long", subject="ann/zoo")
    assert began.wait(60)
    with queue.db.write() as tx:
        queue.cancel(tx, "ann/zoo")
    assert heard.wait(60)
    assert ended(job_id).state is State.CANCELLED


def test_a_stopped_worker_interrupts_its_jobs_and_gives_them_back_unused(queue, add, view) -> None:
    began = threading.Event()
    heard = []

    def run(job) -> None:
        began.set()
        try:
            while True:
                queue.beat(job)
                threading.Event().wait(0.01)
        except Interrupted as word:
            heard.append(word)
            raise

    worker = Worker(queue, Kinds(in_process={"long": run}))
    thread = threading.Thread(target=worker.run)
    thread.start()
    job_id = add("long")
    assert began.wait(60)
    worker.stop()
    thread.join()
    assert len(heard) == 1
    assert (view(job_id).state, view(job_id).job.attempt) == (State.QUEUED, 0)


def test_a_large_job_runs_in_a_process_of_its_own(add, ended, launching, pids) -> None:
    view = ended(add("train", what="nothing", pids=str(pids)))
    assert view.state is State.DONE
    (pid,) = _pids(pids)
    assert pid != os.getpid()
    assert view.worker == worker_name(pid)


def test_a_refusal_in_a_large_job_is_final(add, ended, launching) -> None:
    view = ended(add("train", what="refuse"))
    assert (view.state, view.job.attempt, view.error) == (
        State.FAILED,
        1,
        NoPositives("no concept has a positive example").details,
    )


@pytest.mark.usefixtures("quick_retries")
def test_a_large_job_whose_process_was_killed_is_tried_again(add, ended, launching, pids) -> None:
    view = ended(add("train", what="die once", pids=str(pids)))
    assert (view.state, view.job.attempt) == (State.DONE, 2)
    assert len(_pids(pids)) == 2


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("at", ["while it runs", "before it claims"])
def test_a_large_job_whose_process_always_dies_is_given_up_with_a_reason(
    queue, add, ended, launcher, working, at
) -> None:
    errors = []
    kinds = Kinds(launched=TRAIN, failed={"train": lambda tx, job, error: errors.append(error)})
    if at == "before it claims":
        launcher = LocalLauncher([*launcher.command, "never-claims"])
    working(Worker(queue, kinds, launcher))
    view = ended(add("train", what="die"))
    assert (view.state, view.job.attempt) == (State.FAILED, 5)
    assert ("SIGKILL" if at == "while it runs" else "exit code 3") in view.error
    assert [type(error) for error in errors] == [WorkerDied]


@pytest.mark.parametrize("what", ["for ever", "deaf"])
@pytest.mark.usefixtures("launching")
def test_a_cancelled_large_job_ends_its_process(queue, add, until, pids, what) -> None:
    add("train", subject="ann/zoo/m/v", what=what, pids=str(pids))
    until(lambda: _pids(pids))
    with queue.db.write() as tx:
        assert queue.cancel_under(tx, "ann/zoo/") == 1
    until(lambda: not _is_running(_pids(pids)[0]))


def test_large_jobs_wait_for_their_turn(queue, add, ended, launching, pids, until) -> None:
    first = add("train", subject="first", what="for ever", pids=str(pids))
    second = add("train", subject="second", what="nothing")
    until(lambda: _pids(pids))
    with queue.db.read() as tx:
        assert queue.view(tx, second).state is State.QUEUED
    with queue.db.write() as tx:
        queue.cancel(tx, "first")
    launching.wake()
    assert ended(second).state is State.DONE
    assert ended(first).state is State.CANCELLED


class Outside:
    """A worker in a process of its own, which can be killed."""

    def __init__(self, queue: Queue) -> None:
        url = queue.db.url.render_as_string(hide_password=False)
        self.process = subprocess.Popen([sys.executable, str(HERE / "worker_process.py"), url])

    def end(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.wait(60)


@pytest.fixture
def outside(queue: Queue):
    worker = Outside(queue)
    yield worker
    worker.end(signal.SIGKILL)


def test_a_trainer_dies_with_its_worker_and_the_next_worker_goes_on_without_waiting(
    request, add, view, outside, until, pids
) -> None:
    job_id = add("train", what="for ever", pids=str(pids))
    until(lambda: _pids(pids))
    outside.end(signal.SIGKILL)
    until(lambda: not _is_running(_pids(pids)[0]))
    assert view(job_id).state is State.RUNNING, "its lease has not run out"
    assert is_dead(view(job_id).worker)
    request.getfixturevalue("launching")
    until(lambda: len(_pids(pids)) == 2)
    assert view(job_id).job.attempt == 2


def test_a_worker_told_to_end_lets_its_trainer_save_and_gives_the_job_back(add, view, outside, until, pids) -> None:
    job_id = add("train", what="for ever", pids=str(pids))
    until(lambda: _pids(pids))
    outside.end(signal.SIGTERM)
    assert outside.process.returncode == 0
    assert pids.with_name("pids.saved").exists()
    assert not _is_running(_pids(pids)[0])
    assert (view(job_id).state, view(job_id).job.attempt) == (State.QUEUED, 0)


def test_the_names_of_dead_workers_are_told_from_those_of_living_ones() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert is_dead(worker_name(gone.pid))
    assert not is_dead(worker_name(os.getppid()))
    assert is_dead(worker_name(os.getpid())), "a worker that starts finds its own name only where one before it bore it"
    assert not is_dead("elsewhere:1")
