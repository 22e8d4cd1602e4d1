"""What other processes do to the store, up to being killed in the middle of it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lehr.errors import LeaseLost
from lehr.jobs.queue import Queue, State
from lehr.store.db import Database

SCRIPT = Path(__file__).with_name("claiming_process.py")


class Processes:
    """Starts them, and ends those that are left."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.started: list[subprocess.Popen[str]] = []

    def start(self, what: str) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.started.append(subprocess.Popen([sys.executable, str(SCRIPT), what, self._url], **pipes))
        return self.started[-1]


@pytest.fixture
def processes(db_url: str) -> Iterator[Processes]:
    processes = Processes(db_url)
    yield processes
    for process in processes.started:
        process.kill()
        process.communicate()


def _add(db: Database, number: int) -> list[str]:
    queue = Queue(db)
    with db.write() as tx:
        return [queue.add(tx, "train", {}, f"s{one}") for one in range(number)]


def test_of_several_processes_exactly_one_gets_each_job(db: Database, processes: Processes) -> None:
    added = _add(db, 60)
    claimers = [processes.start("take_all") for _ in range(3)]
    for claimer in claimers:
        assert claimer.stdout.readline() == "ready\n"
    claimed = []
    for claimer in claimers:
        claimer.stdin.write("go\n")
        claimer.stdin.flush()
    for claimer in claimers:
        claimed += claimer.communicate(timeout=120)[0].split()
    assert sorted(claimed) == sorted(added)


def test_the_job_of_a_killed_process_goes_to_the_next_when_its_lease_runs_out(
    db: Database, processes: Processes
) -> None:
    (job_id,) = _add(db, 1)
    queue = Queue(db)
    holder = processes.start("hold")
    assert holder.stdout.readline().strip() == job_id
    dead = queue.held_by("holder", job_id)
    holder.kill()
    while (job := queue.claim("next", kinds=["train"])) is None:
        time.sleep(0.05)
    assert (job.id, job.token, job.attempt) == (job_id, dead.token + 1, 2)
    with pytest.raises(LeaseLost), db.write() as tx:
        queue.finish(tx, dead)
    with db.write() as tx:
        queue.finish(tx, job)
        assert queue.view(tx, job_id).state is State.DONE


def test_a_process_killed_inside_a_transaction_leaves_no_trace_and_no_lock(db: Database, processes: Processes) -> None:
    writer = processes.start("half_write")
    half = writer.stdout.readline().strip()
    writer.kill()
    writer.wait()
    (whole,) = _add(db, 1)
    queue = Queue(db)
    with db.read() as tx:
        assert queue.view(tx, half) is None
    assert queue.claim("next", kinds=["train"]).id == whole
