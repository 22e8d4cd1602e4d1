"""A real `lehr serve` for the stories, and real pictures to feed it."""

from __future__ import annotations

import io
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TOKEN = "story-token-0123456789abcdef"
READY_SECONDS = 60


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
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lehr", "serve", "--home", str(self.home), "--port", str(self.port), *flags],
            env={**os.environ, "LEHR_PAT": self.token, **self.environment},
            stdout=subprocess.PIPE,
            stderr=(self.home.parent / "server.log").open("a"),
            text=True,
        )
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


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all stories that do not hurt it."""
    running = Server(tmp_path_factory.mktemp("story") / "home", {"LEHR_FETCH_ALLOW": "127.0.0.1/32"}).start()
    yield running
    running.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server that a test may kill; not started yet."""
    one = Server(tmp_path / "home")
    yield one
    one.stop()


@pytest.fixture(scope="session")
def digits() -> Callable[[int], list[tuple[str, str, bytes]]]:
    """`digits(n)`: the first n of scikit-learn's digits as (id, concept, PNG)."""
    from PIL import Image
    from sklearn.datasets import load_digits

    loaded = load_digits()

    def first(number: int) -> list[tuple[str, str, bytes]]:
        made = []
        for index in range(number):
            file = io.BytesIO()
            Image.fromarray((loaded.images[index] * 15.9375).astype("uint8")).save(file, "PNG")
            made.append((f"digit{index:04d}", f"digit-{loaded.target[index]}", file.getvalue()))
        return made

    return first


def wait_until(claim: Callable[[], object], seconds: float = 60, what: str = "it") -> object:
    """The first true answer of `claim`; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = claim()
        if answer:
            return answer
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen within {seconds} s")
