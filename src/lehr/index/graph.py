"""Approximate search: an HNSW graph over the first rows of a generation, whose recall was measured before it is used.

usearch is imported only where there is a graph, and never into a process that writes OpenVINO models: imported before
OpenVINO, it makes that write what nobody can read.

The graph compares vectors rounded to one byte a number (on a Zen 4: 100,000 x 512, 160 candidates, 0.38 ms; in bfloat16
0.61 ms), and gives a few more than asked: who asks compares those exactly.

Built beside and renamed into place; opened memory-mapped, so that a start reads nothing it does not need. It never
changes: what comes later is searched exactly, until a longer graph takes its place.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lehr.index.exact import nearest
from lehr.index.pages import replace_file

__all__ = ["Graph", "Step", "open_graph", "write_graph"]

DTYPE = "i8"
TALLEST = 0.9995
"""This share of the numbers of a sample is not cut off by rounding."""
CONNECTIVITY = 16
EXPANSION_ADD = 128
COUNTS = (10, 32, 100, 320, 1000)
"""How many neighbours may be asked for: each is measured, for what is enough for ten is too little for a hundred."""
EXPANSIONS = (48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 512, 640, 768, 1024, 1280, 1536, 2048, 3072, 4096)
"""Candidates that a search keeps; the first that reaches GOAL is taken."""
ROWS_PER_CANDIDATE = 32
"""Comparing so many rows in passing takes as long as one candidate: with more candidates exact search is faster."""
GOAL = 0.99
"""With less recall than this a graph is not used: exact search is slower, and right."""
MARGIN = 0.002
"""What is measured on a sample must be this much better."""
SAMPLE = 256
"""Queries of each kind."""
HANDLES = 4
BLOCK = 1000
SHEET = "graph.json"
_LOWEST_PRIORITY = 15
_Kinds = Sequence[tuple[np.ndarray, np.ndarray]]
"""Rounded queries of one kind, and their true neighbours."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """With `expansion` candidates, `recall` of the `count` nearest are found."""

    count: int
    expansion: int
    recall: float


@dataclass(frozen=True, kw_only=True)
class Graph:
    """An open graph over rows 0 to `num_rows`."""

    num_rows: int
    scale: float
    """What a number of a vector is multiplied by before it is rounded."""
    steps: tuple[Step, ...]
    """What was measured, for more neighbours each."""
    handles: queue.LifoQueue[Any]
    """The same file opened several times: one search at a time each."""

    @property
    def recall(self) -> float:
        """Share of the nearest that it finds, measured against exact search when built; the least of all steps."""
        return min(step.recall for step in self.steps)

    def nearest(self, query_D: np.ndarray, count: int) -> np.ndarray | None:
        """Rows, in no exact order, the `count` nearest among them; None where it does not find enough of so many."""
        step = next((step for step in self.steps if step.count >= count), None)
        if step is None:
            return None
        handle = self.handles.get()
        try:
            handle.expansion_search = step.expansion
            return np.asarray(handle.search(_rounded(query_D, self.scale), _asked(count), threads=1).keys, np.int64)
        finally:
            self.handles.put(handle)


def open_graph(folder: Path) -> Graph | None:
    """The folder's graph; None where there is none that can be used."""
    if not (folder / SHEET).exists():
        return None
    from usearch.index import Index

    try:
        sheet = json.loads((folder / SHEET).read_text())
        if sheet.get("dtype") != DTYPE:
            return None
        steps = tuple(Step(**step) for step in sheet["steps"])
        handles: queue.LifoQueue[Any] = queue.LifoQueue()
        for _ in range(HANDLES):
            handle = Index.restore(folder / sheet["file"], view=True, enable_key_lookups=False)
            if handle is None or len(handle) != sheet["num_rows"]:
                return None
            handles.put(handle)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError):
        return None
    if not steps:
        return None
    return Graph(num_rows=sheet["num_rows"], scale=sheet["scale"], steps=steps, handles=handles)


def write_graph(
    folder: Path, vectors_ND: np.ndarray, *, stop: Callable[[], bool], threads: int = 0, is_background: bool = True
) -> bool:
    """Builds the graph of all these rows, going on from the one in the folder; False if it was stopped.

    Call it from a thread of its own: in the background it takes only what time others leave. `threads`: 0, all.
    """
    if is_background:
        with suppress(OSError, AttributeError):  # not every system has a priority for threads
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
    index, scale = _begun(folder, vectors_ND)
    for start in range(len(index), len(vectors_ND), BLOCK):
        if stop():
            return False
        rows = np.arange(start, min(start + BLOCK, len(vectors_ND)))
        index.add(rows, _rounded(vectors_ND[rows[0] : rows[-1] + 1], scale), threads=threads)
    steps = list(_steps(index, vectors_ND, scale))
    name = f"graph-{len(vectors_ND)}.usearch"
    _save(index, folder / name)
    told = [asdict(step) for step in steps]
    sheet = {"file": name, "dtype": DTYPE, "scale": scale, "num_rows": len(vectors_ND), "steps": told}
    replace_file(folder / SHEET, json.dumps(sheet).encode())
    for old in folder.glob("graph-*.usearch"):
        if old.name != name:
            old.unlink(missing_ok=True)  # who has it open keeps it until it lets go
    return True


def _begun(folder: Path, vectors_ND: np.ndarray) -> tuple[Any, float]:
    """The graph to go on with and its scale: the folder's, or a new one."""
    from usearch.index import Index

    form: dict[str, Any] = {
        "metric": "ip",
        "dtype": DTYPE,
        "connectivity": CONNECTIVITY,
        "expansion_add": EXPANSION_ADD,
    }
    with suppress(OSError, ValueError, KeyError, RuntimeError):
        sheet = json.loads((folder / SHEET).read_text())
        begun = Index(ndim=vectors_ND.shape[1], **form)
        if sheet["dtype"] == DTYPE:
            begun.load(folder / sheet["file"])
        if len(begun) == sheet["num_rows"]:
            return begun, sheet["scale"]
    sample = np.abs(vectors_ND[_spread(np.random.default_rng(0), len(vectors_ND))])
    return Index(ndim=vectors_ND.shape[1], **form), 127 / max(1e-12, float(np.quantile(sample, TALLEST)))


def _rounded(vectors: np.ndarray, scale: float) -> np.ndarray:
    """int8, of the same shape."""
    return np.rint(vectors * np.float32(scale)).clip(-127, 127).astype(np.int8)


def _save(index: Any, path: Path) -> None:
    beside = path.with_suffix(".new")
    index.save(beside)
    with open(beside, "rb") as file:
        os.fsync(file.fileno())
    beside.rename(path)


def _steps(index: Any, vectors_ND: np.ndarray, scale: float) -> Iterator[Step]:
    """For more and more neighbours the fewest candidates that reach the goal, as long as any do."""
    counts = [count for count in COUNTS if count <= len(vectors_ND)]
    kinds = [
        (_rounded(queries, scale), nearest(vectors_ND, queries, counts[-1]).rows_QK) for queries in _queries(vectors_ND)
    ]
    most = max(EXPANSIONS[0], len(vectors_ND) // ROWS_PER_CANDIDATE)
    allowed = [expansion for expansion in EXPANSIONS if expansion <= most]
    for count in counts:
        step = _first_enough(index, kinds, count, allowed)
        if step is None:
            return
        yield step
        allowed = [expansion for expansion in allowed if expansion >= step.expansion]


def _first_enough(index: Any, kinds: _Kinds, count: int, expansions: Sequence[int]) -> Step | None:
    """By the kind of query that is answered worst."""
    for expansion in expansions:
        if expansion < _asked(count):
            continue
        index.expansion_search = expansion
        recall = min(_recall(index, queries, truth[:, :count]) for queries, truth in kinds)
        if recall >= GOAL + MARGIN or (expansion == expansions[-1] and recall >= GOAL):
            return Step(count=count, expansion=expansion, recall=recall)
    return None


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


def _asked(count: int) -> int:
    """So many are taken from the graph for the `count` nearest: rounded, the last ones change places."""
    return count + count // 4 + 6


def _recall(index: Any, queries_QD: np.ndarray, truth_QK: np.ndarray) -> float:
    """Share of the true neighbours that are found."""
    count = truth_QK.shape[1]
    found = index.search(queries_QD, _asked(count), threads=1).keys
    shares = [len(set(one.tolist()) & set(truth.tolist())) for one, truth in zip(found, truth_QK, strict=True)]
    return float(np.mean(shares)) / count
