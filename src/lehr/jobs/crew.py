"""Keeps a number of worker processes alive: starts them, starts them again when they die, stops them at the end."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

from lehr.jobs.launcher import LEASH

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0
STOP_SECONDS = 20.0


class Crew:
    """`size` processes of one command. A process that keeps dying is started again ever more slowly."""

    def __init__(self, command: Sequence[str], size: int, environment: Mapping[str, str]) -> None:
        self._command, self._environment = list(command), dict(environment)
        self._leaving = threading.Event()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._threads = [
            threading.Thread(target=self._keep_alive, args=(place,), name=f"crew-{place}", daemon=True)
            for place in range(size)
        ]

    def start(self) -> None:
        """Returns at once; the processes come up in the background."""
        for thread in self._threads:
            thread.start()

    def ready(self) -> bool:
        """Whether at least one process runs, or none is wanted."""
        return not self._threads or any(process.poll() is None for process in list(self._processes.values()))

    def close(self) -> None:
        """Asks every process to stop, and makes it after 20 s."""
        self._leaving.set()
        for process in list(self._processes.values()):
            process.terminate()
        for process in list(self._processes.values()):
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        for thread in self._threads:
            thread.join(STOP_SECONDS)

    def _keep_alive(self, place: int) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._leaving.is_set():
            process = subprocess.Popen(self._leashed(), env=self._environment, start_new_session=True)  # noqa: S603
            self._processes[place] = process
            if self._leaving.is_set():
                process.terminate()
            started = time.monotonic()
            process.wait()
            lasted = time.monotonic() - started
            if self._leaving.is_set():
                return
            pause = FIRST_PAUSE_SECONDS if lasted > STEADY_SECONDS else min(pause * 2, LONGEST_PAUSE_SECONDS)
            log.error("worker %d ended with %s; it is started again in %.1f s", place, process.returncode, pause)
            self._leaving.wait(pause)

    def _leashed(self) -> list[str]:
        """The command, dying with the thread that starts it: a worker must not outlive its server."""
        return [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), "0", *self._command]
