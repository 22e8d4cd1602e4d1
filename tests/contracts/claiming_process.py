"""A process of its own that claims, or dies while it does. Driven by tests; prints what it holds, one line each."""

from __future__ import annotations

import sys
import time

from lehr.jobs.queue import Queue
from lehr.store.db import Database


def take_all(queue: Queue) -> None:
    """Waits for a word, then claims until nothing is left."""
    print("ready", flush=True)
    sys.stdin.readline()
    while queue.ready(kinds=["train"]) is not None:
        job = queue.claim("claimer", kinds=["train"])
        if job is not None:
            print(job.id, flush=True)


def hold(queue: Queue) -> None:
    """Claims one job on a short lease and never lets go."""
    job = queue.claim("holder", kinds=["train"], lease_seconds=0.5)
    print(job.id, flush=True)
    time.sleep(600)


def half_write(queue: Queue) -> None:
    """Stays for ever inside a transaction that has written."""
    with queue.db.write() as tx:
        print(queue.add(tx, "train", {}, "half"), flush=True)
        time.sleep(600)


if __name__ == "__main__":
    {"take_all": take_all, "hold": hold, "half_write": half_write}[sys.argv[1]](Queue(Database(sys.argv[2])))
