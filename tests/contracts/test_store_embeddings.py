"""Generations, vectors and the backlog, on every database."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from lehr.protocol import resources_pb2, status_pb2
from lehr.protocol.ids import AppRef
from lehr.store import annotations, apps, backlog, inputs, users
from lehr.store import embeddings as rows
from lehr.store.backlog import Counts, Settled
from lehr.store.embeddings import State, Vector
from lehr.store.inputs import NewInput
from lehr.store.versions import ModelVersionRef

APP = AppRef("ann", "zoo")
BASE = ModelVersionRef(APP, "base", "v1")
READY, PENDING = 30000, 30001


@pytest.fixture
def app(db):
    with db.write() as tx:
        users.insert(tx, resources_pb2.User(id="ann"))
        apps.insert(tx, resources_pb2.App(id="zoo", user_id="ann"))
    return db


def add(tx, *names: str, code: int = READY) -> list[int]:
    made = [resources_pb2.Input(id=name, status=status_pb2.Status(code=code)) for name in names]
    inputs.insert(tx, APP, [NewInput(message=each) for each in made])
    for name in names:
        inputs.set_content(tx, APP, {name: ("a" * 64, "b" * 64)})
    return list(inputs.keys_of(tx, APP, names).values())


def note(tx, input_id: str, name: str, *, with_region: bool = True) -> None:
    data = resources_pb2.Data()
    if with_region:
        data.regions.add().region_info.bounding_box.bottom_row = 1
    annotations.insert(tx, APP, [resources_pb2.Annotation(id=name, input_id=input_id, data=data)])


def settle_all(tx, generation, dimensions: int = 4) -> int:
    waiting = backlog.waiting(tx, generation.key, after=0, limit=1000)
    values = np.ones(dimensions)
    done = [
        Settled(row=row, vectors=[Vector(input_key=row.input_key, annotation_key=row.annotation_key, values=values)])
        for row in waiting
    ]
    return backlog.settle(tx, generation.key, done)


def filled(tx, generation) -> None:
    while backlog.fill(tx, generation, limit=2):
        pass


def test_every_ready_input_waits_once_and_has_its_vector_after(app):
    with app.write() as tx:
        keys = add(tx, "a", "b", "c", "d", "e")
        add(tx, "not yet", code=PENDING)
        generation = rows.add(tx, APP, BASE, workflow=b"w", state=State.SERVING)
        assert backlog.counts(tx, generation) == Counts(waiting=5, failed=0)
        filled(tx, generation)
        assert backlog.with_work(tx) == [APP]
        assert settle_all(tx, generation) == 5
        assert backlog.with_work(tx) == []
        found = rows.read(tx, generation.key, after=0, limit=100)
        assert list(found.seqs) == [1, 2, 3, 4, 5]
        assert list(found.input_keys) == keys
        assert rows.get(tx, generation.key).dimensions == 4
        assert backlog.counts(tx, rows.get(tx, generation.key)) == Counts(waiting=0, failed=0)


def test_what_is_settled_twice_is_there_once(app):
    with app.write() as tx:
        add(tx, "a")
        generation = rows.add(tx, APP, BASE, workflow=b"")
        filled(tx, generation)
        [row] = backlog.waiting(tx, generation.key, after=0, limit=9)
        done = [Settled(row=row, vectors=[Vector(input_key=row.input_key, values=np.ones(3))])]
        assert backlog.settle(tx, generation.key, done) == 1
        assert backlog.settle(tx, generation.key, done) == 0
        assert rows.count(tx, generation.key) == 1
        backlog.expect_inputs(tx, APP, ["a"])
        settle_all(tx, generation, 3)
        assert list(rows.read(tx, generation.key, after=0, limit=9).seqs) == [2]


def test_regions_wait_when_they_are_written_and_have_no_vector_when_they_are_gone(app):
    with app.write() as tx:
        [key] = add(tx, "a")
        generation = rows.add(tx, APP, BASE, workflow=b"", state=State.SERVING)
        filled(tx, generation)
        settle_all(tx, generation)
        note(tx, "a", "box")
        note(tx, "a", "word", with_region=False)
        [row] = backlog.waiting(tx, generation.key, after=0, limit=9)
        assert row.input_key == key
        assert row.annotation_key is not None
        [subject] = backlog.subjects(tx, [row])
        assert [note.id for _, note in subject.annotations] == ["box"]
        settle_all(tx, generation)
        assert sorted(rows.read(tx, generation.key, after=0, limit=9).annotation_keys) == [0, row.annotation_key]
        annotations.update(tx, APP, [resources_pb2.Annotation(id="box", input_id="a")])
        assert list(rows.read(tx, generation.key, after=0, limit=9).annotation_keys) == [0]
        note(tx, "a", "second")
        settle_all(tx, generation)
        annotations.delete(tx, APP, input_ids=["a"])
        assert list(rows.read(tx, generation.key, after=0, limit=9).annotation_keys) == [0]


def test_what_is_deleted_while_it_is_embedded_stays_away(app):
    with app.write() as tx:
        add(tx, "a", "b")
        note(tx, "b", "box")
        generation = rows.add(tx, APP, BASE, workflow=b"")
        filled(tx, generation)
        waiting = backlog.waiting(tx, generation.key, after=0, limit=9)
        [_, (box, _)] = [(0, None), *backlog.subjects(tx, waiting)[1].annotations]
    with app.write() as tx:
        inputs.delete(tx, APP, ["a"])
        annotations.delete(tx, APP, input_ids=["b"])
        done = [Settled(row=row, vectors=[Vector(input_key=row.input_key, values=np.ones(2))]) for row in waiting]
        region = Vector(input_key=waiting[1].input_key, annotation_key=box, values=np.ones(2))
        backlog.settle(tx, generation.key, [*done[:1], Settled(row=waiting[1], vectors=[*done[1].vectors, region])])
        found = rows.read(tx, generation.key, after=0, limit=9)
        assert list(found.input_keys) == [waiting[1].input_key]
        assert list(found.annotation_keys) == [0]


def test_failures_are_told_and_tried_again(app):
    with app.write() as tx:
        [key] = add(tx, "a")
        generation = rows.add(tx, APP, BASE, workflow=b"", state=State.SERVING)
        filled(tx, generation)
        [row] = backlog.waiting(tx, generation.key, after=0, limit=9)
        backlog.settle(tx, generation.key, [Settled(row=row, error="no picture")])
        present = rows.get(tx, generation.key)
        assert backlog.counts(tx, present) == Counts(waiting=0, failed=1)
        assert backlog.in_state(tx, generation.key, failed=True, page=1, per_page=5) == {key: "no picture"}
        assert backlog.sweep(tx, generation.key) == 0
        assert backlog.try_again(tx, generation.key) == 1
        settle_all(tx, generation)
        assert backlog.indexed(tx, generation.key, page=1, per_page=5) == [key]


def test_a_sweep_finds_what_slipped_through(app):
    with app.write() as tx:
        generation = rows.add(tx, APP, BASE, workflow=b"")
        filled(tx, generation)
        add(tx, "late")
        assert backlog.sweep(tx, generation.key) == 1
        assert backlog.sweep(tx, generation.key) == 0


def test_dropped_vectors_are_cleared_bit_by_bit(app):
    with app.write() as tx:
        add(tx, "a", "b", "c")
        generation = rows.add(tx, APP, BASE, workflow=b"")
        filled(tx, generation)
        settle_all(tx, generation)
        rows.set_state(tx, generation.key, State.DROPPED)
        assert backlog.with_work(tx) == [APP]
        assert [rows.clear_dropped(tx, APP, limit=2) for _ in range(3)] == [2, 1, 0]
        assert backlog.with_work(tx) == []
        assert rows.add(tx, APP, BASE, workflow=b"").number == 2


def test_numbers_are_committed_in_their_order(app):
    """A reader that has seen one number never misses a smaller one that comes later."""
    with app.write() as tx:
        [key] = add(tx, "a")
        generation = rows.add(tx, APP, BASE, workflow=b"", state=State.SERVING)

    def write() -> None:
        for _ in range(15):
            with app.write() as tx:
                rows.append(tx, generation.key, [Vector(input_key=key, values=np.ones(2))] * 2)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    seen: list[int] = []
    while any(thread.is_alive() for thread in threads) or len(seen) < 90:
        with app.read() as tx:
            seen += rows.read(tx, generation.key, after=seen[-1] if seen else 0, limit=1000).seqs.tolist()
    assert seen == list(range(1, 91))
