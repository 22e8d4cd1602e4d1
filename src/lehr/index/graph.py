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
EXPANSIONS = (
    *(24, 32, 48, 64, 80, 96, 104, 112, 120, 128, 144, 160, 176, 192, 208, 224, 256),
    *(320, 384, 512, 640, 768, 1024, 1280, 1536, 2048, 3072, 4096),
)
"""Candidates that a search keeps; the first that reaches GOAL is taken."""
ROWS_PER_CANDIDATE = 32
"""Comparing so many rows in passing takes as long as one candidate: with more candidates exact search is faster."""
GOAL = 0.99
"""With less recall than this a graph is not used: exact search is slower, and right."""
MARGIN = 0.002
"""What is measured on a sample must be this much better."""
SAMPLE = 256
"""Queries of each kind."""
GROUP = 64
"""Queries that are judged together whether fewer candidates are enough for them."""
HANDLES = 4
BLOCK = 1000
SHEET = "graph.json"
_LOWEST_PRIORITY = 15
_Kinds = Sequence[tuple[np.ndarray, np.ndarray]]
"""Rounded queries of one kind, and their true neighbours."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """With `expansion` candidates, `recall` of the `count` nearest are found.

    A query near what is there needs fewer than one that is not: `easy` candidates are tried first (0: never), and are
    enough where the nearest that they find is within `easy_distance`.
    """

    count: int
    expansion: int
    recall: float
    easy: int = 0
    easy_distance: float = 0.0


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
        rounded_D = _rounded(query_D, self.scale)
        handle = self.handles.get()
        try:
            handle.expansion_search = step.easy or step.expansion
            found = handle.search(rounded_D, _asked(count), threads=1)
            if step.easy and not (len(found) and found.distances[0] <= step.easy_distance):
                handle.expansion_search = step.expansion
                found = handle.search(rounded_D, _asked(count), threads=1)
        finally:
            self.handles.put(handle)
        return np.asarray(found.keys, np.int64)


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
        allowed = [expansion for expansion in allowed if expansion >= (step.easy or step.expansion)]


@dataclass(frozen=True, kw_only=True)
class _Tried:
    """What so many candidates find, of K kinds of Q queries each."""

    expansion: int
    recalls_KQ: np.ndarray
    distances_KQ: np.ndarray
    """Of the nearest that is found."""


def _first_enough(index: Any, kinds: _Kinds, count: int, expansions: Sequence[int]) -> Step | None:
    """By the kind of query that is answered worst."""
    tried: list[_Tried] = []
    for expansion in expansions:
        if expansion < _asked(count):
            continue
        tried.append(_tried(index, kinds, count, expansion))
        recall = _worst(tried[-1].recalls_KQ)
        if recall >= GOAL + MARGIN or (expansion == expansions[-1] and recall >= GOAL):
            return _with_short_cut(count, tried)
    return None


def _tried(index: Any, kinds: _Kinds, count: int, expansion: int) -> _Tried:
    index.expansion_search = expansion
    found = [index.search(queries, _asked(count), threads=1) for queries, _ in kinds]
    recalls = [_recalls(matches.keys, truth[:, :count]) for matches, (_, truth) in zip(found, kinds, strict=True)]
    distances = [matches.distances[:, 0] for matches in found]
    return _Tried(expansion=expansion, recalls_KQ=np.array(recalls), distances_KQ=np.array(distances))


def _with_short_cut(count: int, tried: Sequence[_Tried]) -> Step:
    """The last one tried is enough for every kind; one before may be for queries near what is there.

    From the nearest to the farthest, groups of queries are let through as long as each for itself reaches the goal; of
    all candidates for them, and all distances, those that cost a mixture of all kinds the fewest candidates.
    """
    full = tried[-1]
    cost = float(full.expansion)
    step = Step(count=count, expansion=full.expansion, recall=_worst(full.recalls_KQ))
    for short in tried[:-1]:
        order = np.argsort(short.distances_KQ, axis=None)
        groups = np.array_split(short.recalls_KQ.ravel()[order], len(order) // GROUP or 1)
        bad = next((at for at, group in enumerate(groups) if group.mean() < GOAL + MARGIN), len(groups))
        num_easy = sum(map(len, groups[:bad]))
        with_it = short.expansion + full.expansion * (1 - num_easy / len(order))
        if num_easy and with_it < cost:
            cost = with_it
            within = float(short.distances_KQ.ravel()[order[num_easy - 1]])
            recall = _worst(np.where(short.distances_KQ <= within, short.recalls_KQ, full.recalls_KQ))
            step = Step(
                count=count, expansion=full.expansion, recall=recall, easy=short.expansion, easy_distance=within
            )
    return step


def _worst(recalls_KQ: np.ndarray) -> float:
    """Mean of the kind that is answered worst."""
    return float(recalls_KQ.mean(axis=1).min())


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


def _recalls(found_QA: np.ndarray, truth_QK: np.ndarray) -> list[float]:
    """Share of the true neighbours that are found, of each query."""
    count = truth_QK.shape[1]
    return [len(set(one.tolist()) & set(truth.tolist())) / count for one, truth in zip(found_QA, truth_QK, strict=True)]
