"""The vectors of one generation in files of this machine: memory-mapped, appended to, never half read.

A derived copy: it may be deleted at any time, and is made anew from the store's rows. Bytes are appended first and
count only once the sheet, replaced by a rename, says so; what a crash leaves behind the count is overwritten. One
process writes, the first to lock the folder; others read what is there and keep what is newer in memory.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["NUM_KEYS", "Pages", "replace_file"]

NUM_KEYS = 4
"""int64 columns beside each vector: number in the sequence, input, annotation (0: none), frame in ms (-1: none)."""
FORMAT = 1
VECTORS, KEYS, SHEET, LOCK = "vectors.f32", "keys.i64", "sheet.json", "lock"


@dataclass(frozen=True, kw_only=True)
class Pages:
    """`num_rows` vectors in the files of `folder`. `lock` is the descriptor that holds it; None: another writes."""

    folder: Path
    dimensions: int
    num_rows: int
    lock: int | None

    @classmethod
    def open(cls, folder: Path, dimensions: int) -> Pages:
        """What is there; what cannot be used counts as nothing."""
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder=folder, dimensions=dimensions, num_rows=_count(folder, dimensions), lock=_locked(folder))

    @property
    def is_writer(self) -> bool:
        """Whether this process may append."""
        return self.lock is not None

    def vectors(self) -> np.ndarray:
        """float32 [N, D], read from the disk as it is needed."""
        return _mapped(self.folder / VECTORS, np.float32, (self.num_rows, self.dimensions))

    def keys(self) -> np.ndarray:
        """int64 [N, 4], in memory."""
        return np.array(_mapped(self.folder / KEYS, np.int64, (self.num_rows, NUM_KEYS)))

    def appended(self, vectors_ND: np.ndarray, keys_N4: np.ndarray) -> Pages:
        """With these rows at the end, safely on the disk."""
        assert self.is_writer, f"{self.folder} is written by another process"
        assert vectors_ND.shape == (len(keys_N4), self.dimensions), f"vectors {vectors_ND.shape}"
        _put(self.folder / VECTORS, self.num_rows * self.dimensions * 4, vectors_ND.astype("<f4"))
        _put(self.folder / KEYS, self.num_rows * NUM_KEYS * 8, keys_N4.astype("<i8"))
        num_rows = self.num_rows + len(keys_N4)
        sheet = {"format": FORMAT, "dimensions": self.dimensions, "num_rows": num_rows}
        replace_file(self.folder / SHEET, json.dumps(sheet).encode())
        return Pages(folder=self.folder, dimensions=self.dimensions, num_rows=num_rows, lock=self.lock)

    def emptied(self) -> Pages:
        """Without any row, for what the files say is not what the store says."""
        (self.folder / SHEET).unlink(missing_ok=True)
        return Pages(folder=self.folder, dimensions=self.dimensions, num_rows=0, lock=self.lock)

    def close(self) -> None:
        """Lets others write."""
        if self.lock is not None:
            os.close(self.lock)


def _count(folder: Path, dimensions: int) -> int:
    """Rows that the sheet promises and the files hold."""
    try:
        sheet = json.loads((folder / SHEET).read_text())
        held = (folder / VECTORS).stat().st_size, (folder / KEYS).stat().st_size
    except (OSError, ValueError):
        return 0
    if sheet.get("format") != FORMAT or sheet.get("dimensions") != dimensions:
        return 0
    num_rows = int(sheet["num_rows"])
    is_whole = held[0] >= num_rows * dimensions * 4 and held[1] >= num_rows * NUM_KEYS * 8
    return num_rows if is_whole else 0


def _locked(folder: Path) -> int | None:
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _mapped(path: Path, kind: type, shape: tuple[int, int]) -> np.ndarray:
    """A plain array over the file: numpy's own class for it makes every look-up slower."""
    return np.asarray(np.memmap(path, kind, "r", shape=shape)) if shape[0] else np.zeros(shape, kind)


def _put(path: Path, offset: int, values: np.ndarray) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        file.seek(offset)
        file.write(np.ascontiguousarray(values).data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """The file has either its old content or all of the new one, also after a power cut."""
    beside = path.with_suffix(".new")
    with open(beside, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
