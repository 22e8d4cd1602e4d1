from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lehr.jobs.queue import JobView, Queue, State
from lehr.jobs.worker import Worker
from lehr.store.db import Database

PATIENCE_SECONDS = 60


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    db = Database(f"sqlite:///{tmp_path / 'lehr.db'}")
    db.upgrade()
    yield Queue(db)
    db.close()


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


@pytest.fixture(name="until")
def until_fixture() -> Callable[[Callable[[], object]], None]:
    return until


@pytest.fixture
def add(queue: Queue) -> Callable[..., str]:
    def add(kind: str, subject: str = "s", **payload: object) -> str:
        with queue.db.write() as tx:
            return queue.add(tx, kind, payload, subject)

    return add


@pytest.fixture
def view(queue: Queue) -> Callable[[str], JobView]:
    def view(job_id: str) -> JobView:
        with queue.db.read() as tx:
            found = queue.view(tx, job_id)
        assert found is not None
        return found

    return view


@pytest.fixture
def ended(view: Callable[[str], JobView]) -> Callable[[str], JobView]:
    """Waits until the job has come to an end."""

    def ended(job_id: str) -> JobView:
        until(lambda: view(job_id).state in (State.DONE, State.FAILED, State.CANCELLED))
        return view(job_id)

    return ended


@pytest.fixture
def working() -> Iterator[Callable[[Worker], Worker]]:
    """Runs workers in threads until the test ends."""
    running: list[tuple[Worker, threading.Thread]] = []

    def start(worker: Worker) -> Worker:
        thread = threading.Thread(target=worker.run)
        thread.start()
        running.append((worker, thread))
        return worker

    yield start
    for worker, thread in running:
        worker.stop()
        thread.join()
