"""How long until the API answers, on an empty home and on one that exists. `python benchmarks/startup.py`

Goal: under 2 s, and no torch in the control plane. The peer is the interpreter importing what the server imports.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import described
from server import running

RUNS = 7


def main() -> None:
    """Prints one line per case: median and worst."""
    print(f"start-up, {RUNS} runs each; {described()}")
    with tempfile.TemporaryDirectory() as folder:
        first = [_ready(Path(folder) / f"home{i}") for i in range(RUNS)]
        again = [_ready(Path(folder) / "home0") for _ in range(RUNS)]
    _print("empty home", first)
    _print("existing home", again)
    _print("imports alone", [_imports() for _ in range(RUNS)])


def _ready(home: Path) -> float:
    with running(home) as server:
        maps = Path(f"/proc/{server.process.pid}/maps")
        assert not maps.exists() or "libtorch" not in maps.read_text(), "the control plane has loaded torch"
        return server.seconds_to_ready


def _imports() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import lehr.compose, os; os._exit(0)"], check=True)
    return time.perf_counter() - started


def _print(name: str, seconds: list[float]) -> None:
    print(f"  {name:<14} median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s")


if __name__ == "__main__":
    main()
