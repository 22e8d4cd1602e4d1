"""PATCH, by the tables of the public documentation and by what the protocol's messages add to them."""

import pytest

from lehr.errors import InvalidRequest
from lehr.protocol import resources_pb2
from lehr.protocol.patch import patched, patched_json
from lehr.protocol.structs import from_struct

V2 = {"key2": "value2", "key3": "value3"}


@pytest.mark.parametrize(
    ("change", "stored", "after"),
    [
        ({"a": [1, 2, 3]}, {"blah": True}, {"blah": True, "a": [1, 2, 3]}),
        ({"a": [{"id": 1}]}, {"a": [{"id": 2}]}, {"a": [{"id": 2}, {"id": 1}]}),
        ({"a": [{"id": "1", "x": 1}]}, {"a": [{"id": "1", "x": 0, "y": 2}]}, {"a": [{"id": "1", "x": 1, "y": 2}]}),
        ({"a": [{"b": "1"}]}, {"a": [{"b": "2"}]}, {"a": [{"b": "2"}, {"b": "1"}]}),
        ({"blah": 1}, {"blah": "text"}, {"blah": 1}),
        ({"key1": True}, {"key1": V2}, {"key1": True}),
        ({"key1": {"key2": True}}, {"key1": V2}, {"key1": {"key2": True, "key3": "value3"}}),
        ({"key1": {"key2": {}}}, {"key1": V2}, {"key1": {"key2": {}, "key3": "value3"}}),
        ({"key1": {"key2": None}}, {"key1": V2}, {"key1": V2}),
        ({"key1": []}, {"key1": V2}, {"key1": []}),
        ({"key1": {"key2": []}}, {"key1": V2}, {"key1": {"key2": [], "key3": "value3"}}),
        ({"key1": {"key2": [{"k": "v"}]}}, {"key1": {"key2": {"k": "v"}}}, {"key1": {"key2": [{"k": "v"}]}}),
        ({"key1": {"key2": {"k": [1]}}}, {"key1": {"key2": []}}, {"key1": {"key2": {"k": [1]}}}),
    ],
)
def test_merging_free_form_objects(change, stored, after):
    assert patched_json(stored, change, "merge") == after


@pytest.mark.parametrize(
    ("change", "stored", "after"),
    [
        ({"a": [{"id": "1"}], "b": 1}, {"a": [{"id": "2"}, {"id": "1"}], "b": "x"}, {"a": [{"id": "2"}], "b": 1}),
        ({"key1": {"key2": True}}, {"key1": {"key2": "value2"}}, {"key1": {}}),
        ({"key1": True}, {"key1": V2}, {}),
        ({"key1": {"key2": True}}, {"key1": V2}, {"key1": {"key3": "value3"}}),
        (
            {"key1": {"key2": {"key3": True}, "key4": True}},
            {"key1": {"key2": {"key3": {"key5": 1}}, "key4": {"key6": 1}}},
            {"key1": {"key2": {}}},
        ),
        ({"key1": True}, {"key1": V2, "key4": ["a"]}, {"key4": ["a"]}),
        ({"a": {"key2": False, "key3": True}, "b": False}, {"a": V2, "b": [1]}, {"a": {"key2": False}, "b": False}),
        ({"key1": {}}, {"key1": V2}, {"key1": V2}),
        ({"key1": {"key2": None}}, {"key1": V2}, {"key1": V2}),
        ({"tags": ["x"]}, {"tags": ["x", "y"]}, {"tags": ["y"]}),
        ({"absent": {"key": 1}, "gone": ["x"]}, {"key1": 1}, {"key1": 1}),
    ],
)  # fmt: skip
def test_removing_from_free_form_objects(change, stored, after):
    assert patched_json(stored, change, "remove") == after


def picture(**concepts):
    data = resources_pb2.Data(concepts=[resources_pb2.Concept(id=k, value=v) for k, v in concepts.items()])
    return resources_pb2.Input(id="i", data=data)


def values(message):
    return {concept.id: concept.value for concept in message.data.concepts}


@pytest.mark.parametrize(
    ("action", "after"),
    [
        ("merge", {"cat": 1.0, "dog": 0.0, "cow": 1.0}),
        ("overwrite", {"dog": 0.0, "cow": 1.0}),
        ("remove", {"cat": 1.0}),
    ],
)
def test_an_inputs_concepts(action, after):
    stored = picture(cat=1.0, dog=1.0)
    stored.data.image.url = "http://x/y.png"
    result = patched(stored, picture(dog=0.0, cow=1.0), action)
    assert values(result) == after
    assert result.data.image.url == "http://x/y.png", "a picture is never lost to a patch of concepts"
    assert values(stored) == {"cat": 1.0, "dog": 1.0}, "what was stored is not touched"


def test_what_the_change_does_not_set_stays():
    stored = resources_pb2.App(id="a", description="flowers", sample_ms=500)
    stored.metadata.update({"x": 1, "y": {"z": 2}})
    after = patched(stored, resources_pb2.App(id="a", name="new"), "overwrite")
    assert (after.name, after.description, after.sample_ms) == ("new", "flowers", 500)
    assert after.metadata == stored.metadata


@pytest.mark.parametrize(
    ("action", "after"),
    [
        ("merge", {"x": 1, "y": {"z": 3, "w": 2}}),
        ("overwrite", {"y": {"z": 3}}),
        ("remove", {"x": 1, "y": {"z": 3, "w": 2}}),
    ],
)
def test_metadata(action, after):
    stored, change = resources_pb2.Data(), resources_pb2.Data()
    stored.metadata.update({"x": 1, "y": {"z": 1, "w": 2}})
    change.metadata.update({"y": {"z": 3}})
    assert from_struct(patched(stored, change, action).metadata) == after


def test_words_are_a_set_and_an_empty_object_clears_metadata():
    stored = resources_pb2.Model(toolkits=["a", "b"])
    stored.metadata.update({"x": 1})
    change = resources_pb2.Model(toolkits=["b", "c"])
    change.metadata.SetInParent()
    merged = patched(stored, change, "merge")
    assert list(merged.toolkits) == ["a", "b", "c"]
    assert not merged.metadata.fields
    assert list(patched(stored, change, "remove").toolkits) == ["a"]
    assert list(patched(stored, change, "overwrite").toolkits) == ["b", "c"]


def test_regions_are_found_by_id_at_any_depth():
    def region(ident, **concepts):
        return resources_pb2.Region(id=ident, data=picture(**concepts).data)

    stored = resources_pb2.Annotation(data=resources_pb2.Data(regions=[region("r1", cat=1.0), region("r2")]))
    change = resources_pb2.Annotation(data=resources_pb2.Data(regions=[region("r1", dog=1.0), region("r3")]))
    merged = patched(stored, change, "merge")
    assert [r.id for r in merged.data.regions] == ["r1", "r2", "r3"]
    assert [c.id for c in merged.data.regions[0].data.concepts] == ["cat", "dog"]
    assert [r.id for r in patched(stored, change, "remove").data.regions] == ["r2"]


@pytest.mark.parametrize("action", ["", "delete", "MERGE"])
def test_an_unknown_action_is_refused_with_the_possible_ones(action):
    with pytest.raises(InvalidRequest, match="merge, overwrite, remove"):
        patched(resources_pb2.App(), resources_pb2.App(), action)
