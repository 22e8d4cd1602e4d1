"""Nearest neighbours, held to the plainest computation there is."""

import numpy as np
import pytest

from lehr.errors import InvalidSearch
from lehr.index.library import Library
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.services.neighbours import Neighbours, unit
from lehr.store import embeddings as rows
from lehr.store import inputs as input_rows
from lehr.store.embeddings import State, Vector
from lehr.store.versions import ModelVersionRef


@pytest.fixture
def neighbours(db, tmp_path) -> Neighbours:
    library = Library(tmp_path / "index")
    return Neighbours(db=db, bundles=None, decoders=None, predictors=None, library=library)


def filled(db, ref: AppRef, vectors_ND: np.ndarray) -> list[int]:
    """A serving generation with one input a vector; answers the inputs' keys."""
    with db.write() as tx:
        start = rows.add(tx, ref, ModelVersionRef(ref, "embedder", "v"), workflow=b"", state=State.SERVING)
        inputs = [resources_pb2.Input(id=f"{ref.app_id}-{number}") for number in range(len(vectors_ND))]
        input_rows.insert(tx, ref, [input_rows.NewInput(message=each) for each in inputs])
        keys = list(input_rows.keys_of(tx, ref, [each.id for each in inputs]).values())
        pairs = zip(keys, vectors_ND, strict=True)
        rows.append(tx, start.key, [Vector(input_key=key, values=vector) for key, vector in pairs])
    return keys


def random_vectors(number: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(number, dim)))


def test_the_nearest_are_those_that_plain_sorting_finds(db, ref, other_ref, neighbours):
    vectors_ND = random_vectors(300)
    keys = filled(db, ref, vectors_ND)
    filled(db, other_ref, random_vectors(50, seed=1))
    query = random_vectors(1, seed=2)[0]
    found = neighbours.nearest(ref, query * 7, among=None, k=12)
    expected = sorted(range(300), key=lambda row: -float(query @ vectors_ND[row]))[:12]
    assert [each.input_key for each in found] == [keys[row] for row in expected]
    cosine = float(query @ vectors_ND[expected[0]])
    assert found[0].score == pytest.approx((1 + cosine) / 2, abs=1e-3)
    assert found[0].distance == pytest.approx(1 - cosine, abs=1e-3)
    [nearest] = neighbours.nearest(ref, query, among=None, k=1, metric="euclidean")
    assert nearest.distance == pytest.approx(float(np.linalg.norm(query - vectors_ND[expected[0]])), abs=1e-3)


def test_a_selection_is_ranked_among_itself(db, ref, neighbours):
    vectors_ND = random_vectors(100)
    keys = filled(db, ref, vectors_ND)
    chosen = keys[90:]
    found = neighbours.nearest(ref, vectors_ND[0], among=chosen, k=50)
    assert sorted(each.input_key for each in found) == sorted(chosen)
    assert neighbours.nearest(ref, vectors_ND[0], among=[], k=5) == []


def test_a_vector_of_another_size_is_refused_with_both_sizes(db, ref, neighbours):
    filled(db, ref, random_vectors(3))
    with pytest.raises(InvalidSearch, match="has 5 dimensions; those of this app have 16"):
        neighbours.nearest(ref, np.ones(5), among=None, k=1)
    with pytest.raises(InvalidSearch, match="not all of them zero"):
        neighbours.nearest(ref, np.zeros(16), among=None, k=1)


def test_an_app_without_a_base_workflow_says_what_to_do(ref, neighbours):
    assert neighbours.nearest(ref, np.ones(3), among=None, k=5) == []
    with pytest.raises(InvalidSearch, match="Set `default_workflow`"):
        neighbours.embedder(ref)


def test_files_of_another_past_of_the_store_are_not_believed(db, ref, tmp_path, monkeypatch):
    monkeypatch.setattr("lehr.index.shelf.TAIL_ROWS", 10)
    first = Neighbours(db=db, bundles=None, decoders=None, predictors=None, library=Library(tmp_path / "index"))
    vectors_ND = random_vectors(40)
    keys = filled(db, ref, vectors_ND)
    assert first.nearest(ref, vectors_ND[39], among=None, k=1)[0].input_key == keys[39]
    first.library.close()
    with db.write() as tx:  # as if a backup had been restored, and other inputs embedded since
        generation = rows.serving(tx, ref)
        tx.exec_driver_sql("DELETE FROM embeddings")
        again = [Vector(input_key=key, values=vector) for key, vector in zip(keys[::-1], vectors_ND[::-1], strict=True)]
        tx.exec_driver_sql("UPDATE generations SET last_seq = 0")
        rows.append(tx, generation.key, [*again[:20], *random_ones(keys[5], 20)])
    second = Neighbours(db=db, bundles=None, decoders=None, predictors=None, library=Library(tmp_path / "index"))
    assert second.nearest(ref, vectors_ND[39], among=None, k=1)[0].input_key == keys[39]
    assert {each.input_key for each in second.nearest(ref, vectors_ND[2], among=None, k=40)} == {*keys[20:], keys[5]}


def random_ones(key: int, number: int) -> list[Vector]:
    return [
        Vector(input_key=key, values=vector, frame_ms=row) for row, vector in enumerate(random_vectors(number, seed=8))
    ]


def test_files_of_dropped_generations_go(db, ref, other_ref, tmp_path):
    for app in (ref, other_ref):
        filled(db, app, random_vectors(5))
    neighbours = Neighbours(db=db, bundles=None, decoders=None, predictors=None, library=Library(tmp_path / "index"))
    neighbours.nearest(ref, np.ones(16), among=None, k=1)
    with db.write() as tx:
        dropped = rows.serving(tx, ref)
        rows.set_state(tx, dropped.key, State.DROPPED)
    assert (tmp_path / "index" / dropped.uid).is_dir()
    neighbours.nearest(other_ref, np.ones(16), among=None, k=1)
    assert not (tmp_path / "index" / dropped.uid).exists()


def test_frames_of_a_video_count_once_by_the_best(db, ref, neighbours):
    vectors_ND = random_vectors(30)
    keys = filled(db, ref, vectors_ND)
    with db.write() as tx:
        rows.append(
            tx,
            rows.serving(tx, ref).key,
            [
                Vector(input_key=keys[0], values=vector, frame_ms=500 + 1000 * number)
                for number, vector in enumerate(random_vectors(20, seed=4))
            ],
        )
    query = random_vectors(20, seed=4)[3]
    found = neighbours.nearest(ref, query, among=None, k=30)
    assert (found[0].input_key, found[0].frame_ms) == (keys[0], 3500)
    assert sorted(each.input_key for each in found) == sorted(keys)
