"""Finding and killing the processes below a server, and what they leave in its store."""

from __future__ import annotations

import io
import os
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from lehr.store import bundles, checkpoints
from lehr.store.blobs import LocalBlobs
from lehr.store.db import Database
from lehr.store.versions import ModelVersionRef

TRAINER = (" lehr job ",)
WORKER = (" lehr worker ",)
PREDICTOR = (" lehr.serving.predictor_process ",)


def below(root: int, words: tuple[str, ...] = ("",)) -> list[int]:
    """The living descendants of a process whose command line has all of the words."""
    parents = dict(_parents())
    return [pid for pid in parents if _descends(pid, root, parents) and all(word in _command(pid) for word in words)]


def _parents() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state not in "ZX":
                yield int(folder.name), int(parent)


def _descends(pid: int, root: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == root:
            return True
    return False


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") + " "
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    """Whether it still runs; one that nobody has waited for does not."""
    return pid in dict(_parents())


def kill(pid: int) -> None:
    """SIGKILL: no good-bye."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def stop_while_it_writes(pid: int, partial: Path, seconds: float = 60) -> bool:
    """Freezes the process at a moment when a half-written blob lies in `partial`; False if it ended before.

    The process is left frozen: whoever looks on decides what becomes of it.
    """
    before = set(os.listdir(partial))
    deadline = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < deadline:
        if set(os.listdir(partial)) - before:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.02)
            if set(os.listdir(partial)) - before:
                return True
            os.kill(pid, signal.SIGCONT)
    return False


class Shelves:
    """The store of a home, read past the server."""

    def __init__(self, home: Path) -> None:
        self.db = Database(f"sqlite:///{home / 'lehr.db'}")
        self.blobs = LocalBlobs(home / "blobs")
        self.partial = home / "blobs" / "partial"

    def num_checkpoints(self, version: ModelVersionRef) -> int:
        """Rows of checkpoints that there are now."""
        with self.db.read() as tx:
            return len(checkpoints.newest(tx, version))

    def last_step(self, version: ModelVersionRef) -> int:
        """The step of the newest checkpoint; 0 before the first."""
        with self.db.read() as tx:
            return max((checkpoint.step for checkpoint in checkpoints.newest(tx, version)), default=0)

    def weights(self, version: ModelVersionRef) -> bytes:
        """The published `model.safetensors`."""
        with self.db.read() as tx:
            bundle = bundles.get(tx, version)
        with zipfile.ZipFile(io.BytesIO(self.blobs.read(bundle.sha))) as archive:
            return archive.read("model.safetensors")

    def close(self) -> None:
        """Lets go of the database."""
        self.db.close()


def retried(ask: Callable[[], object], codes: tuple[int, ...], seconds: float = 60) -> object:
    """The first answer whose status is none of the codes, as published clients wait for it."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer.status.code not in codes:
            return answer
        assert time.monotonic() < deadline, f"still {answer.status} after {seconds} s"
        time.sleep(0.2)
