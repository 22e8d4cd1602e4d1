"""Nearest neighbours: Lehr's index beside FAISS (flat, HNSW) and usearch: recall@10 and queries a second.

    python benchmarks/search.py --sizes 10000
    python benchmarks/search.py --sizes 100000 1000000        # minutes, and an hour, most of it building graphs

Vectors of 512 dimensions in heaps, as embeddings lie, at each size, with all rows allowed and with a filter that keeps
1 % of them. Queries come one at a time, as a server gets them, on one thread; they lie near, between and far from what
is there. The others' graphs are given the least candidates with which they reach recall 0.99 on these very queries, of
the same numbers as Lehr's, which chose its own when it was built. Lehr's figures are of its index with all that chooses
between exact and graph; without the look into the database that tells what was deleted meanwhile (0.2 ms). All answer
every query once, and then take turns, for a machine is faster in one minute than in the next.

Then, for Lehr at each size, in a new process: from nothing to the first answer with the files of an earlier run there,
and the memory it takes (of its own, and mapped from the files).
Goals: recall at least 0.99, and no slower than the best of them at that recall.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from machine import described

from lehr.index.graph import CANDIDATES, CANDIDATES_WHEN_ADDED, LINKS
from lehr.index.shelf import INPUT, Part, Shelf

DIM, K = 512, 10
QUERIES = 300
ROUNDS, SECONDS = 8, 0.5
"""Of each contestant, one after the other."""
GOAL = 0.99
Find = Callable[[np.ndarray], np.ndarray]
"""One query to the rows of its neighbours."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Vectors, queries, and the rows that are allowed."""

    vectors: np.ndarray
    queries: np.ndarray
    allowed: np.ndarray | None

    @cached_property
    def right(self) -> np.ndarray:
        """What the queries should find, by plain comparison in float32."""
        vectors = self.vectors if self.allowed is None else self.vectors[self.allowed]
        rows = np.arange(len(self.vectors)) if self.allowed is None else self.allowed
        best = [np.argsort(-(vectors @ query), kind="stable")[:K] for query in self.queries]
        return rows[np.array(best)]


def main() -> None:
    """Prints one table per size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000])
    parser.add_argument("--build-threads", type=int, default=0, help="for building graphs; 0: all")
    parser.add_argument("--peers", nargs="+", choices=GRAPHS, default=list(GRAPHS), help="whose graphs to build")
    parser.add_argument("--first-answer", nargs=2, metavar=("FOLDER", "ROWS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.first_answer:
        print(json.dumps(first_answer(Path(options.first_answer[0]), int(options.first_answer[1]))))
        return
    print(described())
    for size in options.sizes:
        measure(size, options.peers, options.build_threads)


def measure(size: int, peers: Sequence[str], threads: int) -> None:
    """Everything at one size."""
    vectors, queries = drawn(size)
    allowed = np.sort(np.random.default_rng(7).choice(size, size // 100, replace=False))
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        shelf = filled(Path(folder), vectors)
        print(f"\n{size:,} x {DIM}; Lehr built in {time.perf_counter() - began:.0f} s: {kind_of(shelf)}")
        built = list(contestants(vectors, shelf, peers, threads))
        print(f"{'':34}{'recall@10':>10}{'queries/s':>12}{'p50 ms':>9}{'p99 ms':>9}")
        for rows in (None, allowed):
            bench = Bench(vectors=vectors, queries=queries, allowed=rows)
            race(dict(tried(bench) for tried in built), bench)
        shelf.close()
        told = json.loads(subprocess.check_output([sys.executable, __file__, "--first-answer", folder, str(size)]))
        print(
            f"first answer after {told['seconds']:.2f} s; {told['own']:.0f} MiB own memory, {told['mapped']:.0f} mapped"
        )


def drawn(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors, and queries."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(20, size // 100), DIM), np.float32)
    vectors = np.empty((size, DIM), np.float32)
    for start in range(0, size, 50_000):
        part = slice(start, min(size, start + 50_000))
        num = part.stop - part.start
        vectors[part] = centres[rng.integers(0, len(centres), num)] + rng.standard_normal((num, DIM), np.float32)
        vectors[part] /= np.linalg.norm(vectors[part], axis=1, keepdims=True)
    asked = vectors[rng.integers(0, size, QUERIES)]
    other = vectors[rng.integers(0, size, QUERIES)]
    noise = unit(rng.standard_normal((QUERIES, DIM), np.float32))
    kinds = np.arange(QUERIES)[:, None] % 3
    mixed = np.where(kinds == 0, asked + 0.5 * noise, np.where(kinds == 1, asked + other + noise, 0.5 * asked + noise))
    return vectors, unit(mixed)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Of length 1."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def filled(folder: Path, vectors: np.ndarray) -> Shelf:
    """Lehr's, as a server would have it after some time."""
    shelf = Shelf(folder, DIM)

    def read(after: int) -> Part:
        numbers = np.arange(after + 1, min(len(vectors), after + 8192) + 1)
        zero = np.zeros_like(numbers)
        keys = np.stack([numbers, numbers, zero, zero - 1], axis=1)
        return Part(keys_N4=keys, vectors_ND=vectors[numbers - 1].astype(np.float16))

    shelf.catch_up(len(vectors), read)
    shelf.wait()
    return shelf


def kind_of(shelf: Shelf) -> str:
    """What it chose."""
    graph = shelf.view.graph
    if graph is None:
        return "exact"
    first = graph.steps[0]
    candidates = ", ".join(str(one.candidates) for one in (*first.short_cuts, first))
    return f"graph over {graph.num_rows:,} with {candidates} candidates, recall {first.recall:.4f} when built"


def contestants(
    vectors: np.ndarray, shelf: Shelf, peers: Sequence[str], threads: int
) -> Iterator[Callable[[Bench], tuple[str, Find]]]:
    """All of them, built."""
    yield lambda bench: ("Lehr", lehr(bench, shelf))
    flat = faiss_flat(vectors)
    yield lambda bench: ("FAISS flat", flat(bench))
    for name in peers:
        asking = GRAPHS[name](vectors, threads)
        yield lambda bench, name=name, asking=asking: tuned(
            f"{name} HNSW", lambda candidates: asking(bench, candidates), bench
        )


def lehr(bench: Bench, shelf: Shelf) -> Find:
    """As services/neighbours.py asks: keys of inputs are looked up in the rows each time."""
    among = None if bench.allowed is None else bench.allowed + 1
    return lambda query: shelf.view.search(query, K, shelf.view.chosen(INPUT, among)).rows


def faiss_flat(vectors: np.ndarray) -> Callable[[Bench], Find]:
    """All rows, or those that a bitmap allows."""
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(DIM)
    index.add(vectors)

    def asking(bench: Bench) -> Find:
        params = None if bench.allowed is None else faiss.SearchParameters(sel=bitmap(bench))
        return lambda query: index.search(query[None], K, params=params)[1][0]

    return asking


def bitmap(bench: Bench) -> object:
    """The allowed rows as FAISS reads them fastest."""
    import faiss

    bits = np.zeros(len(bench.vectors), bool)
    bits[bench.allowed] = True
    packed = np.packbits(bits, bitorder="little")
    selector = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(packed))
    selector.kept_alive = packed
    return selector


def faiss_hnsw(vectors: np.ndarray, threads: int) -> Callable[[Bench, int], Find]:
    """Links and construction candidates as in Lehr's graph, vectors in float32."""
    import faiss

    faiss.omp_set_num_threads(threads or faiss.omp_get_max_threads())
    index = faiss.IndexHNSWFlat(DIM, LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = CANDIDATES_WHEN_ADDED
    index.add(vectors)
    faiss.omp_set_num_threads(1)

    def asking(bench: Bench, candidates: int) -> Find:
        selected = {} if bench.allowed is None else {"sel": bitmap(bench)}
        params = faiss.SearchParametersHNSW(efSearch=candidates, **selected)
        return lambda query: index.search(query[None], K, params=params)[1][0]

    return asking


def usearch_hnsw(vectors: np.ndarray, threads: int) -> Callable[[Bench, int], Find]:
    """Its Python binding has no filter: with one, more is asked for and sifted."""
    from usearch.index import Index

    index = Index(ndim=DIM, metric="ip", dtype="f16", connectivity=LINKS, expansion_add=CANDIDATES_WHEN_ADDED)
    index.add(np.arange(len(vectors)), vectors, threads=threads)

    def asking(bench: Bench, candidates: int) -> Find:
        allowed = np.full(len(vectors), bench.allowed is None)
        allowed[bench.allowed if bench.allowed is not None else []] = True

        def find(query: np.ndarray) -> np.ndarray:
            index.expansion_search = candidates
            asked = K if bench.allowed is None else candidates
            keys = index.search(query, min(asked, len(index)), threads=1).keys.astype(np.int64)
            return keys[allowed[keys]][:K]

        return find

    return asking


GRAPHS = {"FAISS": faiss_hnsw, "usearch": usearch_hnsw}


def tuned(name: str, asking: Callable[[int], Find], bench: Bench) -> tuple[str, Find]:
    """With the least candidates that reach the goal."""
    for candidates in CANDIDATES:
        find = asking(candidates)
        if recall([find(query) for query in bench.queries], bench.right) >= GOAL:
            break
    return f"{name} ({candidates})", find


def recall(found: list[np.ndarray], truth: np.ndarray) -> float:
    """Share of the true neighbours that were found."""
    shares = [len(set(one.tolist()) & set(right.tolist())) / K for one, right in zip(found, truth, strict=True)]
    return float(np.mean(shares))


def race(finds: dict[str, Find], bench: Bench) -> None:
    """A row of the table for each. All have answered every query once before any is timed."""
    recalls = {name: recall([find(query) for query in bench.queries], bench.right) for name, find in finds.items()}
    taken: dict[str, list[float]] = {name: [] for name in finds}
    for _ in range(ROUNDS):
        for name, find in finds.items():
            until = time.perf_counter() + SECONDS
            while (start := time.perf_counter()) < until:
                find(bench.queries[len(taken[name]) % QUERIES])
                taken[name].append(time.perf_counter() - start)
    for name, seconds in taken.items():
        shown = name if bench.allowed is None else f"{name}, 1 % allowed"
        p50, p99 = (1000 * float(np.quantile(seconds, share)) for share in (0.5, 0.99))
        print(f"{shown:34}{recalls[name]:>10.4f}{len(seconds) / sum(seconds):>12.0f}{p50:>9.2f}{p99:>9.2f}", flush=True)


def first_answer(folder: Path, size: int) -> dict[str, float]:
    """In a new process: the files are there, the store has nothing newer but the tail."""
    query = unit(np.random.default_rng(1).standard_normal((1, DIM), np.float32))[0]
    began = time.perf_counter()
    shelf = Shelf(folder, DIM)
    shelf.view.search(query, K, shelf.view.chosen(INPUT, None))
    seconds = time.perf_counter() - began
    fields = dict(text.split(":", 1) for text in Path("/proc/self/status").read_text().splitlines())
    shelf.close()
    return {
        "seconds": seconds,
        "own": int(fields["RssAnon"].split()[0]) / 1024,
        "mapped": int(fields["RssFile"].split()[0]) / 1024,
        "rows": size,
    }


if __name__ == "__main__":
    main()
