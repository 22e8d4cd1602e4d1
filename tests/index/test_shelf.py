"""The approximate index beside the exact one, and files that were left half-written, changed or of another past."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from lehr.index import graph as graphs
from lehr.index import shelf as shelves
from lehr.index.exact import nearest
from lehr.index.pages import SHEET, VECTORS, Pages
from lehr.index.shelf import ANNOTATION, INPUT, Part, Shelf

DIM = 32
NUM = 10_500


def gathered(num: int, seed: int = 0) -> np.ndarray:
    """Vectors in heaps, as real embeddings lie."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(40, DIM))
    vectors = centres[rng.integers(0, 40, num)] + 0.6 * rng.normal(size=(num, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Store:
    """Rows as the database would give them."""

    def __init__(self, vectors_ND: np.ndarray, first_region: int | None = None) -> None:
        self.vectors = vectors_ND.astype(np.float16)
        numbers = np.arange(1, len(vectors_ND) + 1)
        regions = np.zeros_like(numbers) if first_region is None else np.where(numbers > first_region, numbers, 0)
        self.keys = np.stack([numbers, numbers * 10, regions, np.full_like(numbers, -1)], axis=1)
        self.num_reads = 0

    def read(self, after: int) -> Part:
        self.num_reads += 1
        later = np.flatnonzero(self.keys[:, 0] > after)[:5000]
        return Part(keys_N4=self.keys[later], vectors_ND=self.vectors[later])

    @property
    def last(self) -> int:
        return int(self.keys[-1, 0])


@pytest.fixture
def small_exact(monkeypatch):
    """The graph is used for what would else be far too little."""
    monkeypatch.setattr(shelves, "EXACT_VALUES", 2000 * DIM)
    monkeypatch.setattr(graphs, "ROWS_PER_CANDIDATE", 8)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return gathered(NUM)


@pytest.fixture
def shelf(tmp_path, small_exact, vectors):
    store = Store(vectors)
    shelf = Shelf(tmp_path / "g", DIM)
    shelf.catch_up(store.last, store.read)
    shelf.wait()
    yield shelf
    shelf.close()


def recall(view, queries: np.ndarray, chosen: np.ndarray | None, k: int = 10) -> float:
    everything = np.concatenate([view.paged_ND, view.tail_ND])
    truth = nearest(everything, queries, k, among=chosen).rows_QK
    found = [view.search(query, k, chosen).rows for query in queries]
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(found, truth.tolist(), strict=True)]))


def test_the_graph_finds_what_exact_search_finds_and_says_how_much_of_it(shelf, vectors):
    assert shelf.view.graph is not None
    assert shelf.view.graph.recall >= 0.99
    assert 0 < shelf.view.num_rows - shelf.view.graph.num_rows < shelves.TAIL_ROWS + 1
    assert recall(shelf.view, vectors[::100] + 0.05 * gathered(NUM // 100, seed=1), None) >= 0.99
    assert recall(shelf.view, gathered(200, seed=1), None) >= 0.98, "of what is unlike all that is there"


@pytest.mark.parametrize("count", [10, 50, 300])
def test_more_neighbours_are_found_as_surely_as_ten(shelf, vectors, count):
    queries = np.concatenate([gathered(40, seed=1), vectors[::250]])
    assert recall(shelf.view, queries, None, k=count) >= 0.985
    assert all(step.recall >= 0.99 for step in shelf.view.graph.steps)
    beyond = shelf.view.graph.steps[-1].count + 1
    assert shelf.view.graph.nearest(vectors[0], beyond) is None
    assert recall(shelf.view, queries[:3], None, k=beyond) == 1.0


class Watched:
    """An index that notes how many candidates it was asked to keep."""

    def __init__(self, index) -> None:
        self.index, self.asked = index, []

    def search(self, query_1D, count, *, params):
        self.asked.append(params.efSearch)
        return self.index.search(query_1D, count, params=params)


def test_a_query_near_what_is_there_is_answered_with_fewer_candidates_than_one_that_is_not(shelf, vectors):
    graph = shelf.view.graph
    near, far = vectors[7], np.eye(DIM, dtype=np.float32)[0]
    rounded = graphs._rounded(np.array([near, far]), graph.scale)
    distances = graph.index.search(rounded, 1)[0][:, 0]
    assert distances[0] < distances[1]
    short_cuts = (graphs.ShortCut(candidates=24, within=float(np.mean(distances))),)
    step = graphs.Step(count=10, candidates=256, recall=1.0, short_cuts=short_cuts)
    watched = Watched(graph.index)
    graph = replace(graph, steps=(step,), index=watched)
    assert 7 in graph.nearest(near, 10)
    assert watched.asked == [24]
    truth = nearest(vectors[: graph.num_rows], far[None], 10).rows_QK[0]
    assert set(truth) <= set(graph.nearest(far, 10))
    assert watched.asked == [24, 24, 256]


def test_numbers_too_large_for_a_byte_cost_their_query_no_neighbour(shelf, vectors):
    """The graph's own library would let them overflow."""
    graph = shelf.view.graph
    axis = np.eye(DIM, dtype=np.float32)[3]
    assert graph.scale * axis.max() > 127
    assert recall(shelf.view, np.array([axis, -axis, vectors[5]]), None) == 1.0


def tried(candidates: int, recalls_KQ: np.ndarray) -> graphs._Tried:
    distances = np.arange(recalls_KQ.size, dtype=float).reshape(recalls_KQ.shape)
    return graphs._Tried(candidates=candidates, recalls_KQ=recalls_KQ, distances_KQ=distances)


def test_fewer_candidates_are_allowed_to_those_queries_alone_for_which_they_are_enough():
    """Four groups: 16 candidates are enough for the nearest, 100 for three of them, 8 for none, 128 are no help."""
    group = np.arange(4 * graphs.GROUP).reshape(2, -1) // graphs.GROUP
    none = tried(8, np.full(group.shape, 0.9))
    one, three = tried(16, np.where(group < 1, 1.0, 0.5)), tried(100, np.where(group < 3, 1.0, 0.5))
    little, full = tried(128, np.where(group < 2, 1.0, 0.5)), tried(192, np.full(group.shape, 0.995))
    step = graphs._with_short_cuts(10, [none, one, three, little, full])
    assert step.candidates == 192
    assert step.recall == pytest.approx((1 + 0.995) / 2)
    first, second = step.short_cuts
    assert (first.candidates, first.within) == (16, graphs.GROUP - 1)
    assert (second.candidates, second.within) == (100, 3 * graphs.GROUP - 1)
    assert graphs._with_short_cuts(10, [one, full]).short_cuts == (first,)
    assert not graphs._with_short_cuts(10, [none, little, full]).short_cuts, "they would cost more than they save"
    assert not graphs._with_short_cuts(10, [full]).short_cuts


def test_cosines_are_exact_and_in_order(shelf, vectors):
    ranked = shelf.view.search(vectors[7], 20, None)
    assert ranked.rows[0] == 7
    assert ranked.cosines == pytest.approx((vectors[ranked.rows] @ vectors[7]), abs=1e-3)
    assert (np.diff(ranked.cosines) <= 0).all()


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7])
def test_a_filter_never_lowers_recall(shelf, share):
    rng = np.random.default_rng(5)
    chosen = np.flatnonzero(rng.random(NUM) < share)
    assert recall(shelf.view, gathered(60, seed=2), chosen) >= 0.98


def test_a_filter_against_the_query_is_answered_exactly(shelf, vectors):
    """The chosen half is the one that is far away: the graph would give none of it."""
    query = vectors[0]
    chosen = np.sort(np.argsort(vectors @ query)[: NUM // 2])
    assert recall(shelf.view, query[None], chosen) == 1.0


def test_what_is_newer_than_the_graph_is_found(shelf, vectors, small_exact):
    new = gathered(50, seed=3)
    store = Store(np.concatenate([vectors, new]))
    view = shelf.catch_up(store.last, store.read)
    for row, vector in enumerate(new):
        assert view.search(vector, 1, None).rows[0] == NUM + row


def test_what_is_buried_is_found_no_more(shelf, vectors):
    view = shelf.bury([7])
    chosen = view.chosen(INPUT, None)
    assert 7 not in view.search(vectors[7], 10, chosen).rows


def test_a_second_start_reads_nothing_from_the_store_but_the_tail(tmp_path, small_exact, vectors):
    store = Store(vectors)
    first = Shelf(tmp_path / "g", DIM)
    first.catch_up(store.last, store.read)
    first.wait()
    paged = len(first.view.paged_ND)
    first.close()
    store.num_reads = 0
    second = Shelf(tmp_path / "g", DIM)
    assert len(second.view.paged_ND) == paged
    assert second.view.graph is not None
    view = second.catch_up(store.last, store.read)
    assert (view.num_rows, store.num_reads) == (NUM, 1)
    second.close()


def test_bytes_behind_the_count_are_not_read(tmp_path):
    pages = Pages.open(tmp_path, DIM).appended(gathered(5), np.arange(20).reshape(5, 4))
    with open(tmp_path / VECTORS, "ab") as file:
        file.write(b"half a vec")
    again = Pages(folder=tmp_path, dimensions=DIM, num_rows=5, lock=pages.lock).appended(
        gathered(2, seed=1), np.arange(8).reshape(2, 4)
    )
    assert np.array_equal(again.vectors()[5:], gathered(2, seed=1))
    again.close()
    assert Pages.open(tmp_path, DIM).num_rows == 7


@pytest.mark.parametrize("damage", ["sheet", "short", "other size"])
def test_damaged_files_count_as_nothing_and_are_made_anew(tmp_path, vectors, damage):
    store = Store(vectors[:6000])
    first = Shelf(tmp_path, DIM)
    first.catch_up(store.last, store.read)
    first.close()
    if damage == "sheet":
        (tmp_path / SHEET).write_text("{")
    elif damage == "short":
        (tmp_path / VECTORS).write_bytes(b"short")
    else:
        (tmp_path / SHEET).write_text('{"format": 1, "dimensions": 64, "num_rows": 6000}')
    second = Shelf(tmp_path, DIM)
    view = second.catch_up(store.last, store.read)
    assert view.num_rows == 6000
    assert view.search(vectors[3], 1, None).rows[0] == 3
    second.close()


def test_files_ahead_of_a_restored_store_are_thrown_away(tmp_path, vectors):
    ahead, behind = Store(vectors[:6000]), Store(gathered(4500, seed=9))
    first = Shelf(tmp_path, DIM)
    first.catch_up(ahead.last, ahead.read)
    first.close()
    second = Shelf(tmp_path, DIM)
    view = second.catch_up(behind.last, behind.read)
    assert view.num_rows == 4500
    assert view.search(gathered(4500, seed=9)[17], 1, None).rows[0] == 17
    second.close()


def test_a_second_process_reads_what_the_first_writes(tmp_path, vectors):
    store = Store(vectors[:6000])
    writer, reader = Shelf(tmp_path, DIM), Shelf(tmp_path, DIM)
    writer.catch_up(store.last, store.read)
    store.num_reads = 0
    view = reader.catch_up(store.last, store.read)
    assert len(view.paged_ND) == len(writer.view.paged_ND) > 0
    assert view.num_rows == 6000
    reader.close()
    writer.close()


def test_regions_and_wholes_are_apart(tmp_path, vectors):
    store = Store(vectors[:100], first_region=60)
    shelf = Shelf(tmp_path, DIM)
    view = shelf.catch_up(store.last, store.read)
    assert list(view.chosen(INPUT, None)) == list(range(60))
    assert list(view.chosen(ANNOTATION, None)) == list(range(60, 100))
    assert list(view.chosen(INPUT, np.array([30, 990]))) == [2]
    shelf.close()


def test_keys_that_have_no_vector_choose_nothing(tmp_path, vectors):
    store = Store(vectors[:100])
    shelf = Shelf(tmp_path, DIM)
    view = shelf.catch_up(store.last, store.read)
    assert list(view.chosen(INPUT, np.array([1001, 1000, 30, 31, -5, 0, 10**12, 10]))) == [0, 2, 99]
    assert not len(view.chosen(INPUT, np.array([], np.int64)))
    assert not len(view.search(vectors[0], 5, view.chosen(INPUT, np.array([7]))).rows)
    shelf.close()


def test_a_graph_that_is_bad_is_not_used(tmp_path, monkeypatch, small_exact):
    monkeypatch.setattr(graphs, "CANDIDATES", (1,))
    monkeypatch.setattr(graphs, "LINKS", 2)
    monkeypatch.setattr(graphs, "CANDIDATES_WHEN_ADDED", 2)
    noise = np.random.default_rng(0).normal(size=(6000, DIM))
    store = Store(noise / np.linalg.norm(noise, axis=1, keepdims=True))
    shelf = Shelf(tmp_path, DIM)
    shelf.catch_up(store.last, store.read)
    shelf.wait()
    assert shelf.view.graph is None
    assert recall(shelf.view, gathered(5), None) == 1.0
    built = []
    monkeypatch.setattr(shelves, "write_graph", lambda folder, vectors, stop: built.append(len(vectors)))
    shelf.catch_up(store.last + 1, store.read)
    shelf.wait()
    shelf.close()
    assert not built, "it is not tried again until more has come"


def test_a_graph_whose_file_is_damaged_is_built_anew(tmp_path, small_exact, vectors):
    store = Store(vectors)
    first = Shelf(tmp_path, DIM)
    first.catch_up(store.last, store.read)
    first.wait()
    first.close()
    (file,) = tmp_path.glob("graph-*.faiss")
    file.write_bytes(file.read_bytes()[:-1000])
    second = Shelf(tmp_path, DIM)
    assert second.view.graph is None
    assert recall(second.view, vectors[:5], None) == 1.0
    second.catch_up(store.last + 1, store.read)
    second.wait()
    assert second.view.graph is not None
    assert recall(second.view, vectors[::500], None) >= 0.99
    second.close()


def test_a_graph_that_is_not_wanted_any_more_is_given_up_even_while_it_is_measured(tmp_path, small_exact, vectors):
    for folder in ("whole", "given-up"):
        (tmp_path / folder).mkdir()
    asked = itertools.count()
    assert built(tmp_path / "whole", vectors[:3000], lambda: next(asked) < 0)
    last = next(asked) - 1
    assert last > 3
    for answers in ([True], [*[False] * last, True]):
        assert not built(tmp_path / "given-up", vectors[:3000], iter(answers).__next__)
    assert graphs.open_graph(tmp_path / "given-up") is None
    assert graphs.open_graph(tmp_path / "whole").num_rows == 3000


def built(folder, vectors, stop) -> bool:
    """In a thread of its own, for it lowers its thread's priority."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(graphs.write_graph, folder, vectors, stop=stop).result()
