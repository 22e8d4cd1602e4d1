"""Which items a training gets, with which labels, in which part."""

import pytest

from lehr.protocol import resources_pb2 as r
from lehr.protocol.structs import to_struct
from lehr.services.selection import selects
from lehr.services.training_contents import Contents
from lehr.services.training_data import Reader, labels_told
from lehr.store import annotations, inputs
from lehr.store.inputs import NewInput
from lehr.store.items import Source


def label(concept_id, value=1.0, **info):
    made = r.Annotation(data=r.Data(concepts=[r.Concept(id=concept_id, value=value)]))
    if info:
        made.annotation_info.CopyFrom(to_struct(info))
    return made


@pytest.fixture
def source(db, blobs, ref):
    """Four processed inputs, one pending."""
    told = {
        "cat1": [label("cat", split="train")],
        "cat2": [label("cat", 1.0), label("dog", 0.0)],
        "dog1": [label("dog", split="test")],
        "none": [],
        "late": [label("cat")],
    }
    with db.write() as tx:
        for number, (input_id, notes) in enumerate(told.items()):
            message = r.Input(id=input_id)
            message.data.metadata.CopyFrom(to_struct({"number": number}))
            message.status.code = 30001 if input_id == "late" else 30000
            inputs.insert(tx, ref, [NewInput(message=message, content_sha=blobs.put(input_id.encode()))])
            for index, note in enumerate(notes):
                note.id, note.input_id, note.status.code = f"n{index}", input_id, 24150
            annotations.insert(tx, ref, notes)
    return Source(app=ref)


def read(db, blobs, source, **searches):
    reader = Reader(db=db, contents=Contents(blobs=blobs, decoders=None))  # no videos here
    return {item.id: item for item in reader.read(source, searches)}


def search(negate=False, **info):
    made = r.Search()
    made.query.filters.add(negate=negate).annotation.annotation_info.CopyFrom(to_struct(info))
    return made


def test_processed_items_come_with_their_labels_parts_and_bytes(db, blobs, source):
    items = read(db, blobs, source)
    assert list(items) == ["cat1", "cat2", "dog1", "none"]
    assert {name: item.split for name, item in items.items()} == {
        "cat1": "train",
        "cat2": "",
        "dog1": "test",
        "none": "",
    }
    assert (items["cat2"].positives, items["cat2"].negatives) == ({"cat"}, {"dog"})
    assert items["dog1"].read() == b"dog1"


def test_the_searches_of_an_old_client_choose_and_split(db, blobs, source):
    both = read(db, blobs, source, train_search=search(split="train"), test_search=search(split="test"))
    assert {name: item.split for name, item in both.items()} == {"cat1": "train", "dog1": "test"}
    only_test = read(db, blobs, source, test_search=search(split="test"))
    assert {name for name, item in only_test.items() if item.split == "test"} == {"dog1"}
    assert set(only_test) == {"cat1", "cat2", "dog1", "none"}
    without = read(db, blobs, source, train_search=search(negate=True, split="test"))
    assert set(without) == {"cat1", "cat2", "none"}


def test_a_search_may_ask_for_concepts_and_metadata(db, blobs, source):
    cats = r.Search()
    cats.query.filters.add().annotation.data.concepts.add(id="cat", value=1)
    assert set(read(db, blobs, source, train_search=cats)) == {"cat1", "cat2"}
    cats.query.filters.add().input.data.metadata.CopyFrom(to_struct({"number": 1}))
    assert set(read(db, blobs, source, train_search=cats)) == {"cat2"}
    old = r.Search()
    old.query.ands.add().input.data.concepts.add(id="dog", value=1)
    assert set(read(db, blobs, source, train_search=old)) == {"dog1"}


def test_what_one_filter_asks_of_annotations_one_annotation_must_have():
    class Item:
        annotations = (label("cat", split="train"), label("dog", split="test"))

    def both(concept_id, split):
        made = search(split=split)
        made.query.filters[0].annotation.data.concepts.add(id=concept_id, value=1)
        return selects(made, Item())

    assert both("cat", "train")
    assert not both("cat", "test")


def test_a_concept_said_to_be_both_is_true_and_regions_do_not_speak_for_the_picture():
    region = r.Annotation()
    region.data.regions.add().data.concepts.add(id="wheel", value=1)

    said = [note.data for note in (label("cat", 0.0), label("cat", 0.7), label("dog", 0.49), region)]
    assert labels_told(said) == ({"cat"}, {"dog"})
