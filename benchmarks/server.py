"""A `lehr serve` to measure, in a temporary home."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TOKEN = "benchmark-token-0123456789"


@dataclass(frozen=True)
class Running:
    """The server, where it answers, and how long it took to do so."""

    process: subprocess.Popen
    base: str
    seconds_to_ready: float


@contextmanager
def running(home: Path | None = None, *flags: str) -> Iterator[Running]:
    """Starts the server and ends it afterwards."""
    with tempfile.TemporaryDirectory(prefix="lehr-bench-") as folder:
        home = home or Path(folder) / "home"
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "lehr", "serve", "--home", str(home), "--port", "0", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "LEHR_PAT": TOKEN},
        )
        assert process.stdout is not None
        try:
            line = next(line for line in process.stdout if line.startswith("Lehr is ready at "))
            yield Running(process, line.split()[-1], time.perf_counter() - started)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
