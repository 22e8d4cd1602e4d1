"""Inputs, annotations, data sets and what a training reads of them, on every database."""

from __future__ import annotations

import itertools
import random

import pytest

from lehr.errors import Duplicate, NotFound
from lehr.protocol import resources_pb2, status_pb2
from lehr.protocol.ids import AppRef
from lehr.store import add_jobs, annotations, apps, dataset_versions, datasets, inputs, items, users
from lehr.store.annotations import AnnotationFilter
from lehr.store.beginnings import Beginnings
from lehr.store.db import Database
from lehr.store.inputs import InputFilter, NewInput

APP = AppRef("ann", "zoo")
READY, PENDING, FAILED = 30000, 30001, 30002


@pytest.fixture
def tx(db: Database):
    with db.write() as tx:
        users.insert(tx, resources_pb2.User(id="ann"))
        apps.insert(tx, resources_pb2.App(id="zoo", user_id="ann"))
        yield tx


def _input(name: str, status: int = READY, url: str = "") -> resources_pb2.Input:
    message = resources_pb2.Input(id=name, status=status_pb2.Status(code=status))
    if url:
        message.data.image.url = url
    return message


def _add(tx, names, **fields) -> None:
    inputs.insert(
        tx, APP, [NewInput(message=_input(name), content_sha=f"{n:064}", **fields) for n, name in enumerate(names)]
    )


def _note(tx, input_id: str, name: str, **fields) -> None:
    annotations.insert(tx, APP, [resources_pb2.Annotation(id=name, input_id=input_id, **fields)])


def test_a_batch_tells_which_ids_and_urls_are_taken(tx) -> None:
    inputs.insert(tx, APP, [NewInput(message=_input("a", url="http://x/1")), NewInput(message=_input("b"))])
    taken = inputs.taken(tx, APP, ids=["a", "c"], urls=["http://x/1", "http://x/2"])
    assert (taken.ids, taken.urls) == ({"a"}, {"http://x/1"})
    with pytest.raises(Duplicate, match="'a'"):
        inputs.insert(tx, APP, [NewInput(message=_input("z")), NewInput(message=_input("a"))])
    assert inputs.get(tx, APP, "z") is None


def test_what_is_taken_can_also_be_asked_without_writing(db: Database) -> None:
    with db.read() as tx:
        assert inputs.taken(tx, APP, ids=["a"], urls=["http://x"]) == inputs.Taken(ids=frozenset(), urls=frozenset())


def test_pages_with_any_filter_equal_a_plain_search(tx) -> None:
    dice = random.Random(0)
    everything = [_input(f"i{number}", dice.choice([READY, PENDING, FAILED])) for number in range(97)]
    for start in range(0, 97, 32):
        inputs.insert(tx, APP, [NewInput(message=message) for message in everything[start : start + 32]])
    chosen_ids = tuple(message.id for message in dice.sample(everything, 30))
    for ids, statuses in itertools.product([(), chosen_ids, ("none",)], [(), (READY,), (PENDING, FAILED)]):
        wanted = [
            message.id
            for message in everything
            if (not ids or message.id in ids) and (not statuses or message.status.code in statuses)
        ]
        filters = InputFilter(ids=ids, statuses=statuses)
        found = [
            message.id
            for page in range(1, 12)
            for message in inputs.page(tx, APP, page=page, per_page=10, filters=filters)
        ]
        assert found == wanted
        assert inputs.count(tx, APP, filters) == len(wanted)


def test_listing_misses_and_repeats_nothing_while_others_are_added(tx) -> None:
    _add(tx, [f"a{number}" for number in range(20)])
    seen = [message.id for message in inputs.page(tx, APP, page=1, per_page=10)]
    _add(tx, ["late"])
    seen += [message.id for message in inputs.page(tx, APP, page=2, per_page=10)]
    seen += [message.id for message in inputs.page(tx, APP, page=3, per_page=10)]
    assert seen == [f"a{number}" for number in range(20)] + ["late"]
    assert [message.id for message in inputs.after(tx, APP, last_id="a18", limit=5)] == ["a19", "late"]
    assert [message.id for message in inputs.after(tx, APP, last_id="", limit=2)] == ["a0", "a1"]


def test_remembered_beginnings_of_pages_never_change_what_a_page_holds(tx) -> None:
    dice = random.Random(1)
    beginnings = Beginnings()
    present: list[str] = []
    for step in range(300):
        what = dice.random()
        if what < 0.15:
            new = [f"n{step}-{number}" for number in range(dice.randint(1, 9))]
            _add(tx, new)
            present += new
        elif what < 0.2 and present:
            gone = dice.sample(present, min(3, len(present)))
            inputs.delete(tx, APP, gone)
            present = [each for each in present if each not in gone]
        elif what < 0.22 and present:
            inputs.delete_some(tx, APP, up_to=inputs.newest_key(tx, APP), limit=2)
            present = present[2:]
        page, per_page = dice.randint(1, 12), dice.choice([3, 10])
        found = inputs.page_of_all(tx, APP, page=page, per_page=per_page, beginnings=beginnings)
        assert [each.id for each in found] == present[(page - 1) * per_page : page * per_page], f"step {step}"
    assert inputs.page_of_all(tx, AppRef("lehr", "none"), page=1, per_page=3, beginnings=beginnings) == []


def test_pending_inputs_are_found_oldest_first_until_they_are_processed(tx) -> None:
    inputs.insert(tx, APP, [NewInput(message=_input(name, PENDING), content_sha="ab" * 32) for name in ("x", "y", "z")])
    assert [(one.app, one.id, one.content_sha) for one in inputs.pending(tx, limit=2)] == [
        (APP, "x", "ab" * 32),
        (APP, "y", "ab" * 32),
    ]
    inputs.update(tx, APP, [_input("x", READY), _input("y", FAILED)])
    assert [one.id for one in inputs.pending(tx, limit=9, app=APP)] == ["z"]
    assert inputs.status_counts(tx, APP) == {READY: 1, FAILED: 1, PENDING: 1}


def test_the_names_of_an_inputs_blobs_can_be_set_later(tx) -> None:
    _add(tx, ["a"])
    assert inputs.set_content(tx, APP, {"a": ("c" * 64, "d" * 64)}) == 1
    assert inputs.set_content(tx, APP, {"gone": ("c" * 64, "")}) == 0
    stored = inputs.stored(tx, APP, ["a", "gone"])
    assert list(stored) == ["a"]
    assert (stored["a"].content_sha, stored["a"].thumbnail_sha) == ("c" * 64, "d" * 64)


def test_the_progress_of_an_upload_is_counted_from_its_inputs(tx) -> None:
    add_jobs.insert(tx, APP, resources_pb2.InputsAddJob(id="up"))
    rows = [
        NewInput(message=_input(f"i{number}", status), add_job_id="up") for number, status in enumerate([PENDING] * 3)
    ]
    inputs.insert(tx, APP, rows)
    add_jobs.add_failures(tx, APP, "up", 2)
    inputs.update(tx, APP, [_input("i0", READY), _input("i1", FAILED)])
    progress = add_jobs.get(tx, APP, "up").progress
    assert (progress.pending_count, progress.in_progress_count) == (1, 0)
    assert (progress.success_count, progress.failed_count) == (1, 3)
    assert [job.id for job in add_jobs.page(tx, APP, page=1, per_page=5)] == ["up"]


def test_annotations_are_found_by_every_filter_as_by_a_plain_search(tx) -> None:
    _add(tx, ["a", "b", "c"])
    dice = random.Random(1)
    notes = [
        resources_pb2.Annotation(
            id=f"n{number}",
            input_id=dice.choice("abc"),
            user_id=dice.choice(["ann", "bob"]),
            model_version_id=dice.choice(["", "v1"]),
            status=status_pb2.Status(code=dice.choice([24150, 24151])),
        )
        for number in range(60)
    ]
    for note in notes[::4]:
        note.worker.workflow.version.id = "w1"
    annotations.insert(tx, APP, notes)
    for filters in (
        AnnotationFilter(),
        AnnotationFilter(input_ids=("a", "c")),
        AnnotationFilter(ids=("n3", "n4", "none"), user_ids=("bob",)),
        AnnotationFilter(model_version_ids=("v1",), statuses=(24150,)),
        AnnotationFilter(user_ids=("ann",), model_version_ids=("v1",)),
        AnnotationFilter(workflow_version_ids=("w1",)),
        AnnotationFilter(people_only=True),
    ):
        wanted = [note.id for note in notes if _fits(note, filters)]
        found = annotations.page(tx, APP, page=1, per_page=100, filters=filters)
        assert [note.id for note in found] == wanted
        assert annotations.count(tx, APP, filters) == len(wanted)
    workers = annotations.workers(tx, APP, page=1, per_page=10)
    assert workers == [("ann", "", ""), ("bob", "", ""), ("", "v1", ""), ("", "", "w1")]
    assert annotations.workers(tx, APP, people_only=True, page=1, per_page=10) == workers[:2]
    assert annotations.workers(tx, APP, page=2, per_page=3) == workers[3:]
    by_input = annotations.of_inputs(tx, APP, ["a", "none"])
    assert [note.id for note in by_input["a"]] == [note.id for note in notes if note.input_id == "a"]
    assert by_input["none"] == []


def _fits(note: resources_pb2.Annotation, filters: AnnotationFilter) -> bool:
    pairs = (
        (filters.ids, note.id),
        (filters.input_ids, note.input_id),
        (filters.statuses, note.status.code),
    )
    workflow_version_id = note.worker.workflow.version.id
    is_by_person = not note.model_version_id and not workflow_version_id
    workers = (
        (filters.user_ids, note.user_id if is_by_person else None),
        (filters.model_version_ids, note.model_version_id),
        (filters.workflow_version_ids, workflow_version_id),
    )
    if any(wanted for wanted, _ in workers) and not any(value in wanted for wanted, value in workers):
        return False
    return all(not wanted or value in wanted for wanted, value in pairs) and (is_by_person or not filters.people_only)


def test_deleting_annotations_keeps_to_what_is_named(tx) -> None:
    _add(tx, ["a", "b"])
    for input_id, name in (("a", "1"), ("a", "2"), ("b", "1"), ("b", "3")):
        _note(tx, input_id, name)
    left = lambda: [(note.input_id, note.id) for note in annotations.page(tx, APP, page=1, per_page=9)]  # noqa: E731
    assert annotations.delete(tx, APP) == 0
    assert annotations.delete(tx, APP, input_ids=["b"], ids=["1"]) == 1
    assert left() == [("a", "1"), ("a", "2"), ("b", "3")]
    assert annotations.delete(tx, APP, input_ids=["a"]) == 2
    assert annotations.delete(tx, APP, ids=["3"]) == 1
    assert left() == []
    with pytest.raises(NotFound, match="'gone'"):
        _note(tx, "gone", "1")


def test_deleting_an_input_takes_its_annotations_and_places_in_data_sets_along(tx) -> None:
    _add(tx, ["a", "b"])
    _note(tx, "a", "n")
    datasets.insert(tx, APP, [resources_pb2.Dataset(id="d")])
    datasets.add_inputs(tx, APP, "d", ["a", "b"])
    assert inputs.delete(tx, APP, ["a", "gone"]) == 1
    assert annotations.count(tx, APP) == 0
    assert [one.input.id for one in datasets.page_inputs(tx, APP, "d", page=1, per_page=9)] == ["b"]


def test_a_data_set_holds_each_input_once_in_the_order_it_was_put_in(tx) -> None:
    _add(tx, ["a", "b", "c"])
    datasets.insert(tx, APP, [resources_pb2.Dataset(id="d"), resources_pb2.Dataset(id="e")])
    assert datasets.add_inputs(tx, APP, "d", ["c", "a", "c"]) == ["c", "a"]
    assert datasets.add_inputs(tx, APP, "d", ["a", "b"]) == ["b"]
    assert [one.input.id for one in datasets.page_inputs(tx, APP, "d", page=1, per_page=9)] == ["c", "a", "b"]
    assert datasets.count_inputs(tx, APP, "d") == 3
    assert datasets.of_input(tx, APP, "a") == ["d"]
    with pytest.raises(NotFound, match="'x', 'y'"):
        datasets.add_inputs(tx, APP, "d", ["x", "a", "y"])
    with pytest.raises(NotFound, match="dataset 'none'"):
        datasets.add_inputs(tx, APP, "none", ["a"])
    assert datasets.remove_inputs(tx, APP, "d", ["a", "x"]) == 1
    assert datasets.input_ids_in(tx, APP, "d", ["a", "b"]) == {"b"}
    assert datasets.delete(tx, APP, ["d"]) == 1
    assert inputs.count(tx, APP) == 3


def _read(tx, source: items.Source) -> list[tuple[str, str, list[str]]]:
    found = [
        (item.input_id, item.content_sha, [note.id for note in item.annotations])
        for item in items.stream(tx, source, batch=2)
    ]
    assert items.count(tx, source) == len(found)
    return found


def test_a_training_reads_processed_inputs_with_their_annotations_in_batches(tx) -> None:
    _add(tx, ["a", "b", "c", "d", "e"])
    inputs.update(tx, APP, [_input("b", FAILED)])
    for input_id, name in (("c", "1"), ("a", "2"), ("c", "3")):
        _note(tx, input_id, name)
    shas = {name: f"{number:064}" for number, name in enumerate("abcde")}
    notes = {"a": ["2"], "c": ["1", "3"]}
    assert _read(tx, items.Source(app=APP)) == [(name, shas[name], notes.get(name, [])) for name in "acde"]
    datasets.insert(tx, APP, [resources_pb2.Dataset(id="d")])
    datasets.add_inputs(tx, APP, "d", ["e", "c", "b"])
    assert _read(tx, items.Source(app=APP, dataset_id="d")) == [
        (name, shas[name], notes.get(name, [])) for name in "ce"
    ]


def test_a_frozen_version_stays_as_it_was_whatever_happens_afterwards(tx) -> None:
    _add(tx, ["a", "b", "c"])
    _note(tx, "a", "1")
    datasets.insert(tx, APP, [resources_pb2.Dataset(id="d")])
    datasets.add_inputs(tx, APP, "d", ["a", "b"])
    dataset_versions.freeze(tx, APP, resources_pb2.DatasetVersion(id="v1", dataset_id="d"))
    source = items.Source(app=APP, dataset_id="d", dataset_version_id="v1")
    before = _read(tx, source)
    assert [name for name, _, _ in before] == ["a", "b"]
    _note(tx, "b", "2")
    annotations.delete(tx, APP, input_ids=["a"])
    inputs.set_content(tx, APP, {"a": ("f" * 64, "")})
    datasets.add_inputs(tx, APP, "d", ["c"])
    inputs.delete(tx, APP, ["b"])
    assert _read(tx, source) == before
    assert dataset_versions.count_inputs(tx, APP, "d", "v1") == 2
    dataset_versions.freeze(tx, APP, resources_pb2.DatasetVersion(id="v2", dataset_id="d"))
    assert [version.id for version in dataset_versions.page(tx, APP, "d", page=1, per_page=9)] == ["v2", "v1"]
    assert dataset_versions.latest(tx, APP, "d").id == "v2"
    assert dataset_versions.delete(tx, APP, "d", ["v1"]) == 1
    with pytest.raises(NotFound, match="'v1'"):
        _read(tx, source)
