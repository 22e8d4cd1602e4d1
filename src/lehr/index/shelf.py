"""One generation's vectors in this process: read from the store as they come, searched exactly or through a graph.

Which of the two is decided by a measured size. Whatever the selection, what is found is what exact search would find:
few chosen rows are compared one by one; of many, the graph gives more than asked, until enough of them are chosen ones.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from lehr.index.exact import nearest_to
from lehr.index.graph import Graph, open_graph, write_graph
from lehr.index.pages import NUM_KEYS, Pages

__all__ = ["ANNOTATION", "EXACT_VALUES", "FRAME", "INPUT", "SEQ", "Part", "Ranked", "Shelf", "View"]

log = logging.getLogger(__name__)

EXACT_VALUES = 4 << 20
"""Up to so many numbers (rows x dimensions) are compared one by one: about 0.4 ms, as long as a graph takes."""
TAIL_ROWS = 1024
"""Rows that are kept in memory before they go to the files."""
GROWTH = 20
"""A graph is extended when a twentieth has come to it, and more than is searched exactly in a moment."""

MOST_APART = 16
"""Keys are looked up in a table of so many places per row at most."""

SEQ, INPUT, ANNOTATION, FRAME = range(NUM_KEYS)


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some rows as they come from the store."""

    keys_N4: np.ndarray
    vectors_ND: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """Rows, the nearest first."""

    rows: np.ndarray
    cosines: np.ndarray


@dataclass(frozen=True, kw_only=True)
class View:
    """The rows at one moment: those in the files, those in memory, and the graph over the first of them."""

    paged_ND: np.ndarray
    tail_ND: np.ndarray
    keys_N4: np.ndarray
    graph: Graph | None
    dead: frozenset[int] = frozenset()
    """Rows that were seen to be gone from the store."""

    @property
    def num_rows(self) -> int:
        """In files and in memory."""
        return len(self.keys_N4)

    @cached_property
    def of_wholes(self) -> np.ndarray:
        """Whether each row is of a whole input or frame, not of a region."""
        return self.keys_N4[:, ANNOTATION] == 0

    @cached_property
    def only_wholes(self) -> bool:
        """Whether no row is of a region."""
        return bool(self.of_wholes.all())

    @cached_property
    def row_of_input(self) -> np.ndarray | None:
        """Input key → its only row, -1 without one; None where inputs have several rows, or keys lie too far apart."""
        keys = self.keys_N4[:, INPUT]
        if (
            not len(keys)
            or not self.only_wholes
            or self.has_frames
            or int(keys.max()) > MOST_APART * (1000 + len(keys))
        ):
            return None
        rows = np.full(int(keys.max()) + 2, -1, np.int64)  # 0 is no key, and after the last there is a place for none
        rows[keys] = np.arange(len(keys))  # of an input that was embedded twice: the later
        return rows

    @cached_property
    def has_frames(self) -> bool:
        """Whether some row is of a frame."""
        return bool((self.keys_N4[:, FRAME] >= 0).any())

    def chosen(self, column: int, among: np.ndarray | None) -> np.ndarray | None:
        """Rows of whole inputs (`column` INPUT) or of regions (ANNOTATION), of those with these keys; None: all.

        They ascend; an input that `among` names twice may be there twice.
        """
        wholes = column == INPUT
        if wholes and self.only_wholes:
            if among is None and not self.dead:
                return None
            if among is not None and self.row_of_input is not None:
                return self._without_dead(self._looked_up(self.row_of_input, among))
        mask = self.of_wholes if wholes else ~self.of_wholes
        if among is not None:
            mask = mask & np.isin(self.keys_N4[:, column], among)
        return self._without_dead(np.flatnonzero(mask))

    @staticmethod
    def _looked_up(rows: np.ndarray, among: np.ndarray) -> np.ndarray:
        if not len(among):
            return among
        found = rows.take(among, mode="clip")  # beyond either end: the first place or the last, which have no row
        found.sort()
        return found[int(found.searchsorted(0)) :]

    def _without_dead(self, rows: np.ndarray) -> np.ndarray:
        return rows[~np.isin(rows, list(self.dead))] if self.dead else rows

    def search(self, query_D: np.ndarray, count: int, chosen: np.ndarray | None) -> Ranked:
        """The `count` nearest of the chosen rows (sorted positions; None: all)."""
        num_chosen = self.num_rows if chosen is None else len(chosen)
        if self.graph is None or num_chosen * len(query_D) <= EXACT_VALUES:
            return self._exact(query_D, count, chosen)
        return self._by_graph(query_D, count, chosen) or self._exact(query_D, count, chosen)

    def _exact(self, query_D: np.ndarray, count: int, chosen: np.ndarray | None) -> Ranked:
        split = len(self.paged_ND)
        if not len(self.tail_ND):
            rows, cosines = nearest_to(query_D, self.paged_ND, count, among=chosen)
            return Ranked(rows=rows, cosines=cosines)
        paged = tail = None
        if chosen is not None:
            paged, tail = np.split(chosen, [int(np.searchsorted(chosen, split))])
            tail = tail - split
        first = nearest_to(query_D, self.paged_ND, count, among=paged)
        second = nearest_to(query_D, self.tail_ND, count, among=tail)
        if not split:
            return Ranked(rows=second[0], cosines=second[1])
        return _best(np.concatenate([first[0], second[0] + split]), np.concatenate([first[1], second[1]]), count)

    def _by_graph(self, query_D: np.ndarray, count: int, chosen: np.ndarray | None) -> Ranked | None:
        """None where the graph would have to give too much before enough of it is chosen."""
        assert self.graph is not None
        newer = self._newer(query_D, count, self.graph.num_rows, chosen)
        asked, mask = count, None
        if chosen is not None:
            mask = np.zeros(self.num_rows, bool)
            mask[chosen] = True
            asked = int(1.5 * count * self.num_rows / max(1, len(chosen))) + count
        while (rows := self.graph.nearest(query_D, asked)) is not None:
            kept = rows if mask is None else rows[mask[rows]]
            if len(kept) >= count:
                cosines = self.paged_ND.take(kept, axis=0) @ query_D
                if not len(newer.rows):
                    return _best(kept, cosines, count)
                return _best(np.concatenate([kept, newer.rows]), np.concatenate([cosines, newer.cosines]), count)
            asked *= 2
        return None

    def _newer(self, query_D: np.ndarray, count: int, start: int, chosen: np.ndarray | None) -> Ranked:
        """Among the rows that the graph does not know."""
        if start == self.num_rows:
            return Ranked(rows=np.zeros(0, np.int64), cosines=np.zeros(0, np.float32))
        rows = np.arange(start, self.num_rows)
        if chosen is not None:
            rows = chosen[np.searchsorted(chosen, start) :]
        return self._exact(query_D, count, rows)


def _best(rows: np.ndarray, cosines: np.ndarray, count: int) -> Ranked:
    order = np.lexsort((rows, -cosines))[:count]
    return Ranked(rows=rows[order], cosines=cosines[order])


class Shelf:
    """Safe to use from many threads. `close` it when the generation is searched no more."""

    def __init__(self, folder: Path, dimensions: int, *, told: Callable[[float], None] = lambda recall: None) -> None:
        """`told` hears the recall of a new graph."""
        self._folder, self._told = folder, told
        self._lock = threading.Lock()
        self._pages = Pages.open(folder, dimensions)
        self._is_closed = False
        self._builder: threading.Thread | None = None
        self._read_to = -1
        self._tried_rows = 0
        """Of the last graph that was built here, whether it is good enough or not."""
        self.view = self._from_pages()

    @property
    def _last_row(self) -> int:
        """The number of the newest row that is here."""
        keys = self.view.keys_N4
        return int(keys[-1, SEQ]) if len(keys) else 0

    def catch_up(self, last_seq: int, read: Callable[[int], Part]) -> View:
        """Reads what the store has beyond what is here, up to `last_seq`; the view with it.

        `read(after)` gives the next rows, none at the end. Files that are ahead of the store are of another past of it
        (a backup was restored) and are thrown away.
        """
        if self._read_to == last_seq:
            return self.view
        with self._lock:
            if self._last_row > last_seq:
                self._forget()
            self._look_again()
            while self._last_row < last_seq:
                part = read(self._last_row)
                if not len(part.keys_N4):
                    break  # what came after was deleted
                self._take(part)
            self._read_to = last_seq
            self._grow()
            return self.view

    def check(self, is_of_store: Callable[[np.ndarray], bool]) -> None:
        """Throws the files away where their newest row, int64 [4], is not what the store has under its number."""
        with self._lock:
            keys = self.view.keys_N4
            if len(keys) and not is_of_store(keys[-1]):
                self._forget()

    def bury(self, rows: Iterable[int]) -> View:
        """These rows were seen to be gone."""
        with self._lock:
            self.view = replace(self.view, dead=self.view.dead | set(rows))
            return self.view

    def _look_again(self) -> None:
        """Takes over what another process has written meanwhile."""
        if self._pages.is_writer:
            return
        self._pages.close()
        self._pages = Pages.open(self._folder, self._pages.dimensions)
        if self._pages.num_rows > len(self.view.keys_N4):
            self.view = self._from_pages()

    def _from_pages(self) -> View:
        graph = open_graph(self._folder)
        return View(
            paged_ND=self._pages.vectors(),
            tail_ND=np.zeros((0, self._pages.dimensions), np.float32),
            keys_N4=self._pages.keys(),
            graph=graph if graph is not None and graph.num_rows <= self._pages.num_rows else None,
        )

    def _forget(self) -> None:
        self._pages = self._pages.emptied()
        self._tried_rows = 0
        self.view = self._from_pages()

    def _take(self, part: Part) -> None:
        view = self.view
        vectors = np.asarray(part.vectors_ND, np.float32)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)  # of float16: only nearly 1
        tail = np.concatenate([view.tail_ND, vectors])
        self.view = replace(view, tail_ND=tail, keys_N4=np.concatenate([view.keys_N4, part.keys_N4]))
        if len(tail) >= TAIL_ROWS and self._pages.is_writer:
            self._flush()

    def _flush(self) -> None:
        view = self.view
        self._pages = self._pages.appended(view.tail_ND, view.keys_N4[self._pages.num_rows :])
        self.view = replace(view, paged_ND=self._pages.vectors(), tail_ND=view.tail_ND[:0])

    def _grow(self) -> None:
        """Has a graph built in the background where one is worth it."""
        paged = self.view.paged_ND
        covered = max(self._tried_rows, self.view.graph.num_rows if self.view.graph else 0)
        least = max(EXACT_VALUES // max(1, paged.shape[1]), covered // GROWTH)
        is_building = self._builder is not None and self._builder.is_alive()
        if len(paged) - covered <= least or is_building or not self._pages.is_writer:
            return
        self._builder = threading.Thread(target=self._build, args=(paged,), name="index graph", daemon=True)
        self._builder.start()

    def _build(self, paged_ND: np.ndarray) -> None:
        try:
            if not write_graph(self._folder, paged_ND, stop=lambda: self._is_closed):
                return
            self._tried_rows = len(paged_ND)
            graph = open_graph(self._folder)
        except Exception:  # without a graph, search is slower and right
            log.exception("the graph of %s could not be built", self._folder)
            return
        if graph is None:
            return
        with self._lock:
            if graph.num_rows <= len(self.view.paged_ND):
                self.view = replace(self.view, graph=graph)
        self._told(graph.recall)

    def wait(self) -> None:
        """Until no graph is being built."""
        if self._builder is not None:
            self._builder.join()

    def close(self) -> None:
        """Stops what is being built, and lets another process write the files."""
        self._is_closed = True
        self.wait()
        self._pages.close()
