"""A launched process as the tests need it: `trainer_process.py DATABASE JOB`. Its job's payload says what it does."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from lehr.errors import Interrupted, NoPositives
from lehr.jobs.queue import Job, Queue
from lehr.jobs.runs import run_job
from lehr.store.db import Database


def train(queue: Queue, job: Job) -> None:
    """Notes its pid, then does what it was told."""
    what = job.payload["what"]
    if "pids" in job.payload:
        with Path(job.payload["pids"]).open("a") as file:
            file.write(f"{os.getpid()}\n")
    if what == "die" or (what == "die once" and job.attempt == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "refuse":
        raise NoPositives("no concept has a positive example")
    while what in ("for ever", "deaf"):
        time.sleep(0.05)
        if what == "for ever":
            _beat_and_save(queue, job)


def _beat_and_save(queue: Queue, job: Job) -> None:
    try:
        queue.beat(job)
    except Interrupted:
        Path(job.payload["pids"] + ".saved").touch()
        raise


if __name__ == "__main__":
    if "never-claims" in sys.argv:
        sys.exit(3)
    queue = Queue(Database(sys.argv[-2]))
    run_job(queue, sys.argv[-1], {"train": lambda job: train(queue, job)}, {})
