"""The shelves of this process, by generation: opened when first searched, closed when too many are open."""

from __future__ import annotations

import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from lehr.index.shelf import Shelf

__all__ = ["Library"]

MOST_OPEN = 64


@dataclass
class Library:
    """`folder` is a cache of this machine. Safe to use from many threads."""

    folder: Path
    most_open: int = MOST_OPEN
    _open: OrderedDict[str, Shelf] = field(default_factory=OrderedDict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def has(self, uid: str) -> bool:
        """Whether the shelf of this generation is open."""
        return uid in self._open

    def shelf(self, uid: str, dimensions: int, told: Callable[[float], None]) -> Shelf:
        """That of the generation called `uid`."""
        with self._lock:
            shelf = self._open.get(uid)
            if shelf is None:
                shelf = self._open[uid] = Shelf(self.folder / uid, dimensions, told=told)
            self._open.move_to_end(uid)
            surplus = [self._open.popitem(last=False)[1] for _ in range(len(self._open) - self.most_open)]
        for each in surplus:
            each.close()
        return shelf

    def clear(self, but: Collection[str]) -> int:
        """Deletes the files of generations that are not among these; answers how many."""
        with self._lock:
            gone = [uid for uid in self._open if uid not in but]
            shelves = [self._open.pop(uid) for uid in gone]
        for shelf in shelves:
            shelf.close()
        stale = [path for path in self.folder.iterdir() if path.name not in but] if self.folder.is_dir() else []
        for path in stale:
            shutil.rmtree(path, ignore_errors=True)
        return len(stale)

    def close(self) -> None:
        """Closes every shelf."""
        with self._lock:
            shelves, self._open = list(self._open.values()), OrderedDict()
        for shelf in shelves:
            shelf.close()
