"""Starts, polls and stops the processes of launched jobs. Knows nothing of what they do; the queue does the rest."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["Launched", "Launcher", "LocalLauncher", "is_dead", "stop_all", "worker_name"]

LEASH = Path(__file__).with_name("leash.py")


def worker_name(pid: int) -> str:
    """The name under which the process of this number on this machine claims jobs."""
    return f"{socket.gethostname()}:{pid}"


def is_dead(worker: str) -> bool:
    """Whether a worker of this name was on this machine and is gone; our own name means one before us."""
    host, _, pid = worker.rpartition(":")
    if host != socket.gethostname():
        return False
    return int(pid) == os.getpid() or not _is_running(int(pid))


def _is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended: one that nobody has waited for yet is no worker any more."""
    if Path("/proc/self/stat").exists():
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Launched(Protocol):
    """A process that runs one job."""

    @property
    def worker(self) -> str:
        """The name under which it claims its job."""

    def poll(self) -> str | None:
        """None while it runs, then in words how it ended."""

    def ask_to_stop(self) -> None:
        """Asks it to save what it can and end. Does not wait."""

    def kill(self) -> None:
        """Ends it and all that it started."""


class Launcher(Protocol):
    """Somewhere that jobs can run."""

    def start(self, job_id: str) -> Launched:
        """Starts a process for the job. Call it from a thread that outlives the process."""


@dataclass(frozen=True)
class LocalLauncher:
    """Runs `[*command, job_id]` here, in a process group of its own, that dies with the thread that started it."""

    command: Sequence[str]
    niceness: int = 5

    def start(self, job_id: str) -> LocalProcess:
        """Starts it."""
        leash = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), str(self.niceness)]
        return LocalProcess(subprocess.Popen([*leash, *self.command, job_id], start_new_session=True))  # noqa: S603


@dataclass(frozen=True)
class LocalProcess:
    """A child process and its group."""

    process: subprocess.Popen[bytes]

    @property
    def worker(self) -> str:
        """The name under which it claims its job."""
        return worker_name(self.process.pid)

    def poll(self) -> str | None:
        """None while it runs, then in words how it ended."""
        code = self.process.poll()
        return None if code is None else _in_words(code)

    def ask_to_stop(self) -> None:
        """Sends SIGTERM to the process alone: it stops its own children as it sees fit."""
        if self.process.poll() is None:
            self.process.terminate()

    def kill(self) -> None:
        """Sends SIGKILL to the whole group, whose leader may be gone already, and waits for the leader."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def _in_words(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    hint = ", perhaps because memory ran out" if name == "SIGKILL" else ""
    return f"killed by {name}{hint}"


def stop_all(processes: Sequence[Launched], grace_seconds: float) -> None:
    """Asks all to stop, waits at most `grace_seconds` for them together, and kills what is left."""
    deadline = time.monotonic() + grace_seconds
    for process in processes:
        process.ask_to_stop()
    for process in processes:
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
