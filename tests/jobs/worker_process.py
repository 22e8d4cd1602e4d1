"""A worker in a process of its own: `worker_process.py DATABASE`."""

from __future__ import annotations

import sys
from pathlib import Path

from lehr.jobs.launcher import LocalLauncher
from lehr.jobs.queue import Queue
from lehr.jobs.worker import Kinds, Worker
from lehr.store.db import Database

if __name__ == "__main__":
    url = sys.argv[1]
    command = [sys.executable, str(Path(__file__).with_name("trainer_process.py")), url]
    Worker(Queue(Database(url)), Kinds(launched=frozenset({"train"})), LocalLauncher(command)).run()
