"""Approximate search: an HNSW graph over the first rows of a generation, whose recall was measured before it is used.

The graph compares vectors rounded to one byte a number, by Euclidean distance (by inner product its links are worse:
rounded vectors are no longer of one length), and gives a few more than asked: who asks compares those exactly.

Built beside and renamed into place; opened memory-mapped, so that a start reads nothing it does not need. It never
changes: what comes later is searched exactly, until a longer graph takes its place.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np

from lehr.index.exact import nearest
from lehr.index.pages import replace_file

__all__ = ["Graph", "Step", "open_graph", "write_graph"]

FORM = "HNSW-SQ8"
TALLEST = 0.9995
"""This share of the numbers of a sample is not cut off by rounding."""
LINKS = 16
"""Of each row on each upper layer; twice as many on the lowest. Known as M."""
CANDIDATES_WHEN_ADDED = 128
"""Known as efConstruction."""
COUNTS = (10, 32, 100, 320, 1000)
"""How many neighbours may be asked for: each is measured, for what is enough for ten is too little for a hundred."""
CANDIDATES = (
    *(24, 32, 48, 64, 80, 96, 104, 112, 120, 128, 144, 160, 176, 192, 208, 224, 256, 288, 320),
    *(384, 448, 512, 576, 640, 704, 768, 896, 1024, 1280, 1536, 2048, 3072, 4096),
)
"""That a search may keep, known as efSearch; the first number that reaches GOAL is taken."""
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
MOST_SHORT_CUTS = 2
"""A query that needs all candidates has searched so often in vain."""
BLOCK = 2000
ADVISED_BYTES = 128 << 10
"""Of more than it usually reads ahead, Linux fetches no more."""
SHEET = "graph.json"
_LOWEST_PRIORITY = 15
_Kinds = Sequence[tuple[np.ndarray, np.ndarray]]
"""Rounded queries of one kind, and their true neighbours."""


@dataclass(frozen=True, kw_only=True)
class ShortCut:
    """So many candidates are enough for a query whose nearest, as they find it, is `within` this distance.

    Of the rounded vectors, squared.
    """

    candidates: int
    within: float


@dataclass(frozen=True, kw_only=True)
class Step:
    """With so many candidates, `recall` of the `count` nearest are found.

    A query near what is there needs fewer than one that is not: short cuts are tried first, one after the other.
    """

    count: int
    candidates: int
    recall: float
    short_cuts: tuple[ShortCut, ...] = ()

    @property
    def fewest(self) -> int:
        """Candidates that some queries are answered with."""
        return self.short_cuts[0].candidates if self.short_cuts else self.candidates

    @classmethod
    def read(cls, told: dict[str, Any]) -> Step:
        """Of what `asdict` made of it."""
        return cls(**{**told, "short_cuts": tuple(ShortCut(**short) for short in told["short_cuts"])})


@dataclass(frozen=True, kw_only=True)
class Graph:
    """An open graph over rows 0 to `num_rows`. Any number of threads may search it."""

    num_rows: int
    scale: float
    """What a number of a vector is multiplied by before it is rounded."""
    steps: tuple[Step, ...]
    """What was measured, for more neighbours each."""
    index: Any

    @property
    def recall(self) -> float:
        """Share of the nearest that it finds, measured against exact search when built; the least of all steps."""
        return min(step.recall for step in self.steps)

    def nearest(self, query_D: np.ndarray, count: int) -> np.ndarray | None:
        """Rows, in no exact order, the `count` nearest among them; None where it does not find enough of so many."""
        step = next((step for step in self.steps if step.count >= count), None)
        if step is None:
            return None
        rounded_1D = _rounded(query_D[None], self.scale)
        for short in step.short_cuts:
            distances_1A, rows_1A = _found(self.index, rounded_1D, count, short.candidates)
            if distances_1A[0, 0] <= short.within:
                break
        else:
            _, rows_1A = _found(self.index, rounded_1D, count, step.candidates)
        rows = rows_1A[0]
        return rows[rows >= 0]


def open_graph(folder: Path) -> Graph | None:
    """The folder's graph; None where there is none that can be used."""
    if not (folder / SHEET).exists():
        return None
    import faiss

    try:
        sheet = json.loads((folder / SHEET).read_text())
        if sheet.get("form") != FORM:
            return None
        steps = tuple(Step.read(step) for step in sheet["steps"])
        _read_ahead(folder / sheet["file"])
        index = faiss.read_index(str(folder / sheet["file"]), faiss.IO_FLAG_MMAP_IFC)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError):
        return None
    if not steps or index.ntotal != sheet["num_rows"]:
        return None
    return Graph(num_rows=index.ntotal, scale=sheet["scale"], steps=steps, index=index)


def _read_ahead(path: Path) -> None:
    """Has the system fetch the file meanwhile.

    A million vectors' graph that is nowhere in memory: 2.4 s to open and 8.7 s for the first 60 searches, which read at
    random; after this advice 0.7 and 0.3 s.
    """
    with open(path, "rb") as file, suppress(AttributeError):  # not every system takes advice
        for start in range(0, os.fstat(file.fileno()).st_size, ADVISED_BYTES):
            os.posix_fadvise(file.fileno(), start, ADVISED_BYTES, os.POSIX_FADV_WILLNEED)


def write_graph(folder: Path, vectors_ND: np.ndarray, *, stop: Callable[[], bool]) -> bool:
    """Builds the graph of all these rows, going on from the one in the folder; False if it was stopped.

    Call it from a thread of its own: that thread and those that it starts take only what time others leave.
    """
    with suppress(OSError, AttributeError):  # not every system has a priority for threads
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
    try:
        index, scale = _begun(folder, vectors_ND)
        for start in range(index.ntotal, len(vectors_ND), BLOCK):
            _check(stop)
            index.add(_rounded(vectors_ND[start : start + BLOCK], scale))
        steps = list(_steps(index, vectors_ND, scale, stop))
    except _StoppedError:
        return False
    name = f"graph-{len(vectors_ND)}.faiss"
    _save(index, folder / name)
    told = [asdict(step) for step in steps]
    sheet = {"file": name, "form": FORM, "scale": scale, "num_rows": len(vectors_ND), "steps": told}
    replace_file(folder / SHEET, json.dumps(sheet).encode())
    for old in folder.glob("graph-*.*"):
        if old.name != name:
            old.unlink(missing_ok=True)  # who has it open keeps it until it lets go
    return True


class _StoppedError(Exception):
    """The graph is not wanted any more."""


def _check(stop: Callable[[], bool]) -> None:
    if stop():
        raise _StoppedError


def _begun(folder: Path, vectors_ND: np.ndarray) -> tuple[Any, float]:
    """The graph to go on with and its scale: the folder's, or a new one."""
    import faiss

    with suppress(OSError, ValueError, KeyError, RuntimeError):
        sheet = json.loads((folder / SHEET).read_text())
        if sheet["form"] == FORM:
            begun = faiss.read_index(str(folder / sheet["file"]))
            if begun.ntotal == sheet["num_rows"] <= len(vectors_ND):
                return begun, sheet["scale"]
    number = faiss.ScalarQuantizer.QT_8bit_direct_signed
    index = faiss.IndexHNSWSQ(vectors_ND.shape[1], number, LINKS, faiss.METRIC_L2)
    index.hnsw.efConstruction = CANDIDATES_WHEN_ADDED
    index.is_trained = True  # numbers are kept as they come
    sample = np.abs(vectors_ND[_spread(np.random.default_rng(0), len(vectors_ND))])
    return index, 127 / max(1e-12, float(np.quantile(sample, TALLEST)))


def _rounded(vectors: np.ndarray, scale: float) -> np.ndarray:
    """float32 of the same shape, of whole numbers that a signed byte holds: of larger ones the graph is wrong."""
    return np.rint(vectors * np.float32(scale)).clip(-127, 127)


def _found(index: Any, rounded_QD: np.ndarray, count: int, candidates: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances and rows of a few more than the `count` nearest, the nearest first; row -1 where none is."""
    import faiss

    params = faiss.SearchParametersHNSW(efSearch=candidates)
    distances_QA, rows_QA = index.search(rounded_QD, _asked(count), params=params)
    return distances_QA, rows_QA


def _save(index: Any, path: Path) -> None:
    import faiss

    beside = path.with_suffix(".new")
    faiss.write_index(index, str(beside))
    with open(beside, "rb") as file:
        os.fsync(file.fileno())
    beside.rename(path)


def _steps(index: Any, vectors_ND: np.ndarray, scale: float, stop: Callable[[], bool]) -> Iterator[Step]:
    """For more and more neighbours the fewest candidates that reach the goal, as long as any do."""
    counts = [count for count in COUNTS if count <= len(vectors_ND)]
    kinds = []
    for queries in _queries(vectors_ND):
        _check(stop)
        kinds.append((_rounded(queries, scale), nearest(vectors_ND, queries, counts[-1]).rows_QK))
    most = max(CANDIDATES[0], len(vectors_ND) // ROWS_PER_CANDIDATE)
    allowed = [candidates for candidates in CANDIDATES if candidates <= most]
    for count in counts:
        step = _first_enough(index, kinds, count, allowed, stop)
        if step is None:
            return
        yield step
        allowed = [candidates for candidates in allowed if candidates >= step.fewest]


@dataclass(frozen=True, kw_only=True)
class _Tried:
    """What so many candidates find, of K kinds of Q queries each."""

    candidates: int
    recalls_KQ: np.ndarray
    distances_KQ: np.ndarray
    """Of the nearest that is found."""


def _first_enough(
    index: Any, kinds: _Kinds, count: int, allowed: Sequence[int], stop: Callable[[], bool]
) -> Step | None:
    """By the kind of query that is answered worst."""
    tried: list[_Tried] = []
    for candidates in allowed:
        _check(stop)
        if candidates < _asked(count):
            continue
        tried.append(_tried(index, kinds, count, candidates))
        recall = _worst(tried[-1].recalls_KQ)
        if recall >= GOAL + MARGIN or (candidates == allowed[-1] and recall >= GOAL):
            return _with_short_cuts(count, tried)
    return None


def _tried(index: Any, kinds: _Kinds, count: int, candidates: int) -> _Tried:
    found = [_found(index, queries_QD, count, candidates) for queries_QD, _ in kinds]
    recalls = [_recalls(rows_QA, truth[:, :count]) for (_, rows_QA), (_, truth) in zip(found, kinds, strict=True)]
    distances = [distances_QA[:, 0] for distances_QA, _ in found]
    return _Tried(candidates=candidates, recalls_KQ=np.array(recalls), distances_KQ=np.array(distances))


def _with_short_cuts(count: int, tried: Sequence[_Tried]) -> Step:
    """The last one tried is enough for every kind; some before it may be for queries near what is there.

    Of none, one or two of them, those that cost a mixture of all kinds the fewest candidates.
    """
    chains = chain.from_iterable(combinations(tried, length) for length in range(1, MOST_SHORT_CUTS + 2))
    _, step = min((_mixed(count, chosen) for chosen in chains if chosen[-1] is tried[-1]), key=lambda one: one[0])
    return step


def _mixed(count: int, chosen: Sequence[_Tried]) -> tuple[float, Step]:
    """Candidates that a query costs in the mean with all but the last as short cuts, and that step."""
    *shorts, full = chosen
    left_KQ, recalls_KQ, cost = np.ones(full.recalls_KQ.shape, bool), full.recalls_KQ, 0.0
    short_cuts = []
    for short in shorts:
        cost += short.candidates * float(left_KQ.mean())
        within = _easy_distance(short, left_KQ)
        enough_KQ = left_KQ & (short.distances_KQ <= within)
        recalls_KQ = np.where(enough_KQ, short.recalls_KQ, recalls_KQ)
        left_KQ = left_KQ & ~enough_KQ
        short_cuts.append(ShortCut(candidates=short.candidates, within=within))
    cost += full.candidates * float(left_KQ.mean())
    return cost, Step(count=count, candidates=full.candidates, recall=_worst(recalls_KQ), short_cuts=tuple(short_cuts))


def _easy_distance(short: _Tried, left_KQ: np.ndarray) -> float:
    """Up to which these candidates are enough: groups from the nearest on are, each for itself. -1: for none."""
    distances, recalls = short.distances_KQ[left_KQ], short.recalls_KQ[left_KQ]
    order, within = np.argsort(distances), -1.0
    for group in np.array_split(order, max(1, len(order) // GROUP)) if len(order) else ():
        if recalls[group].mean() < GOAL + MARGIN:
            break
        within = float(distances[group[-1]])
    return within


def _worst(recalls_KQ: np.ndarray) -> float:
    """Mean of the kind that is answered worst."""
    return float(recalls_KQ.mean(axis=1).min())


def _queries(vectors_ND: np.ndarray) -> Iterator[np.ndarray]:
    """Near what is there, between what is there, and unlike anything there: the last are the hardest to answer."""
    rng = np.random.default_rng(0)
    one, other = (np.asarray(vectors_ND[_spread(rng, len(vectors_ND))], np.float32) for _ in range(2))
    noise = _unit(rng.normal(size=one.shape))
    yield _unit(one + rng.uniform(0.1, 1, (len(one), 1)) * noise)  # more and less near, to tell how near is enough
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
