"""Approximate search: an HNSW graph over the first rows of a generation, whose recall was measured before it is used.

usearch is imported only where there is a graph, and never into a process that writes OpenVINO models: imported before
OpenVINO, it makes that write what nobody can read.

Built beside and renamed into place; opened memory-mapped, so that a start reads nothing it does not need. It never
changes: what comes later is searched exactly, until a longer graph takes its place.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lehr.index.exact import nearest
from lehr.index.pages import replace_file

__all__ = ["Graph", "open_graph", "write_graph"]

CONNECTIVITY = 16
EXPANSION_ADD = 128
EXPANSIONS = (48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Candidates that a search keeps; the first that reaches GOAL is taken."""
GOAL = 0.99
MARGIN = 0.003
"""What is measured on a sample must be this much better."""
SAMPLE = 128
"""Queries of each kind."""
NEIGHBOURS = 10
HANDLES = 4
BLOCK = 1000
LEAST_USEFUL = 0.97
"""With less recall than this a graph is not used at all: exact search is slower, and right."""
SHEET = "graph.json"
_LOWEST_PRIORITY = 15


@dataclass(frozen=True, kw_only=True)
class Graph:
    """An open graph over rows 0 to `num_rows`."""

    num_rows: int
    recall: float
    """Share of the ten nearest that it finds, measured against exact search when it was built."""
    expansion: int
    handles: queue.LifoQueue[Any]
    """The same file opened several times: one search at a time each."""

    def nearest(self, query_D: np.ndarray, count: int) -> np.ndarray:
        """Rows of about the `count` nearest, the nearest first."""
        handle = self.handles.get()
        try:
            handle.expansion_search = max(self.expansion, count)
            return np.asarray(handle.search(query_D.astype(np.float16), count, threads=1).keys, np.int64)
        finally:
            self.handles.put(handle)


def open_graph(folder: Path) -> Graph | None:
    """The folder's graph; None where there is none that can be used."""
    if not (folder / SHEET).exists():
        return None
    from usearch.index import Index

    try:
        sheet = json.loads((folder / SHEET).read_text())
        handles: queue.LifoQueue[Any] = queue.LifoQueue()
        for _ in range(HANDLES):
            handle = Index.restore(folder / sheet["file"], view=True, enable_key_lookups=False)
            if handle is None or len(handle) != sheet["num_rows"]:
                return None
            handles.put(handle)
    except (OSError, ValueError, KeyError, RuntimeError):
        return None
    if sheet["recall"] < LEAST_USEFUL:
        return None
    return Graph(num_rows=sheet["num_rows"], recall=sheet["recall"], expansion=sheet["expansion"], handles=handles)


def write_graph(
    folder: Path, vectors_ND: np.ndarray, *, stop: Callable[[], bool], threads: int = 0, is_background: bool = True
) -> bool:
    """Builds the graph of all these rows, going on from the one in the folder; False if it was stopped.

    Call it from a thread of its own: in the background it takes only what time others leave. `threads`: 0, all.
    """
    if is_background:
        with suppress(OSError, AttributeError):  # not every system has a priority for threads
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
    index = _begun(folder, vectors_ND.shape[1])
    for start in range(len(index), len(vectors_ND), BLOCK):
        if stop():
            return False
        rows = np.arange(start, min(start + BLOCK, len(vectors_ND)))
        index.add(rows, vectors_ND[rows[0] : rows[-1] + 1].astype(np.float16), threads=threads)
    expansion, recall = _tuned(index, vectors_ND)
    name = f"graph-{len(vectors_ND)}.usearch"
    _save(index, folder / name)
    sheet = {"file": name, "num_rows": len(vectors_ND), "recall": recall, "expansion": expansion}
    replace_file(folder / SHEET, json.dumps(sheet).encode())
    for old in folder.glob("graph-*.usearch"):
        if old.name != name:
            old.unlink(missing_ok=True)  # who has it open keeps it until it lets go
    return True


def _begun(folder: Path, dimensions: int) -> Any:
    from usearch.index import Index

    fresh = Index(ndim=dimensions, metric="ip", dtype="f16", connectivity=CONNECTIVITY, expansion_add=EXPANSION_ADD)
    with suppress(OSError, ValueError, KeyError, RuntimeError):
        sheet = json.loads((folder / SHEET).read_text())
        fresh.load(folder / sheet["file"])
        if len(fresh) == sheet["num_rows"]:
            return fresh
        fresh.reset()
    return fresh


def _save(index: Any, path: Path) -> None:
    beside = path.with_suffix(".new")
    index.save(beside)
    with open(beside, "rb") as file:
        os.fsync(file.fileno())
    beside.rename(path)


def _tuned(index: Any, vectors_ND: np.ndarray) -> tuple[int, float]:
    """The fewest candidates with which the goal is reached for every kind of query, and the least recall with them."""
    kinds = [(queries, nearest(vectors_ND, queries, NEIGHBOURS).rows_QK) for queries in _queries(vectors_ND)]
    expansion, recall = EXPANSIONS[0], 0.0
    for expansion in EXPANSIONS:
        index.expansion_search = expansion
        recall = min(_recall(index, queries, truth) for queries, truth in kinds)
        if recall >= GOAL + MARGIN:
            break
    return expansion, recall


def _queries(vectors_ND: np.ndarray) -> Iterator[np.ndarray]:
    """Near what is there, between what is there, and unlike anything there: the last are the hardest to answer."""
    rng = np.random.default_rng(0)
    one, other = (np.asarray(vectors_ND[_spread(rng, len(vectors_ND))], np.float32) for _ in range(2))
    noise = _unit(rng.normal(size=one.shape))
    yield _unit(one + 0.3 * noise)
    yield _unit(one + other + noise)
    yield _unit(0.5 * one + noise)


def _spread(rng: np.random.Generator, num_rows: int) -> np.ndarray:
    """A sample of rows in ascending order, which files are read in."""
    return np.sort(rng.choice(num_rows, min(SAMPLE, num_rows), replace=False))


def _unit(vectors_ND: np.ndarray) -> np.ndarray:
    return (vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)).astype(np.float32)


def _recall(index: Any, queries_QD: np.ndarray, truth_QK: np.ndarray) -> float:
    """Share of the true neighbours that are found."""
    found = index.search(queries_QD.astype(np.float16), NEIGHBOURS, threads=1).keys
    shares = [len(set(map(int, one)) & set(truth.tolist())) for one, truth in zip(found, truth_QK, strict=True)]
    return float(np.mean(shares)) / NEIGHBOURS
