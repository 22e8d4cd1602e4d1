"""A real `lehr serve` in a process of its own."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

TOKEN = "story-token-0123456789abcdef"
READY_SECONDS = 180


@dataclass
class Server:
    """One Lehr in a process of its own, in a home that outlives it."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)
    port: int = 0
    process: subprocess.Popen | None = None
    token: str = TOKEN

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *flags: str) -> Server:
        """Starts it and waits for its ready line; after the first start the port stays the same."""
        log = (self.home.parent / "server.log").open("a")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lehr", "serve", "--home", str(self.home), "--port", str(self.port), *flags],
            env={**os.environ, "LEHR_PAT": self.token, **self.environment},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        log.close()
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=lambda: [lines.put(line) for line in self.process.stdout], daemon=True).start()
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            try:
                line = lines.get(timeout=0.2)
            except queue.Empty:
                assert self.process.poll() is None, f"the server ended:\n{self.log()}"
                continue
            if line.startswith("Lehr is ready at "):
                self.port = int(line.rsplit(":", 1)[1])
                return self
        raise AssertionError(f"the server was not ready within {READY_SECONDS} s:\n{self.log()}")

    def log(self) -> str:
        return (self.home.parent / "server.log").read_text()

    def kill(self) -> None:
        """SIGKILL: no good-bye."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise


def wait_until(claim: Callable[[], object], seconds: float = 60, what: str = "it") -> object:
    """The first true answer of `claim`; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = claim()
        if answer:
            return answer
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen within {seconds} s")
