"""PATCH, noun by noun: what was there, what was sent, with which action, and what is there afterwards (over REST)."""

from __future__ import annotations

from itertools import count

import httpx
import pytest
from patching import APP, MERGE, OVERWRITE, REFUSED, REMOVE, Noun, assert_within, joined

BOX = {"region_info": {"bounding_box": {"top_row": 0.1, "left_col": 0.1, "bottom_row": 0.5, "right_col": 0.5}}}
WIDER = {"region_info": {"bounding_box": {"top_row": 0.1, "left_col": 0.1, "bottom_row": 0.5, "right_col": 0.9}}}
TEXT = {"text": {"raw": "words"}}
RED, BLUE = {"id": "red"}, {"id": "blue"}

NOUNS = {
    "concept": Noun(many="concepts", one="concept"),
    "input": Noun(many="inputs", one="input", base={"data": TEXT}),
    "annotation": Noun(
        many="annotations",
        one="annotation",
        base={"input_id": "shown"},
        read=lambda made: f"../inputs/shown/annotations/{made['id']}",
    ),
    "dataset": Noun(many="datasets", one="dataset"),
    "model": Noun(many="models", one="model", base={"model_type_id": "visual-classifier"}),
    "app": Noun(many="apps", one="app", within="/v2/users/lehr"),
    "key": Noun(
        many="keys", one="key", within="/v2/users/lehr", base={"scopes": ["All"], "type": "personal_access_token"}
    ),
}

CASES = [
    # concepts: overwrite alone
    ("concept", {"name": "Red"}, {"name": "Crimson"}, OVERWRITE, {"name": "Crimson"}),
    ("concept", {"name": "Red", "definition": "a colour"}, {"name": "Crimson"}, OVERWRITE, {"definition": "a colour"}),
    ("concept", {"name": "Red"}, {"definition": "a colour"}, "", {"name": "Red", "definition": "a colour"}),
    ("concept", {"name": "Red"}, {"name": "Crimson"}, MERGE, REFUSED),
    # inputs: concepts by id, metadata as an object, geo as a message; what is shown stays
    (
        "input",
        {"data": {"concepts": [RED]}},
        {"data": {"concepts": [BLUE]}},
        MERGE,
        {"data": {"concepts": [RED, BLUE]}},
    ),
    ("input", {"data": {"concepts": [RED]}}, {"data": {"concepts": [BLUE]}}, OVERWRITE, {"data": {"concepts": [BLUE]}}),
    (
        "input",
        {"data": {"concepts": [RED, BLUE]}},
        {"data": {"concepts": [BLUE]}},
        REMOVE,
        {"data": {"concepts": [RED]}},
    ),
    (
        "input",
        {"data": {"concepts": [{"id": "red", "value": 1}]}},
        {"data": {"concepts": [{"id": "red", "value": 0}]}},
        MERGE,
        {"data": {"concepts": [{"id": "red", "value": 0}]}},
    ),
    ("input", {"data": {"concepts": [RED]}}, {"data": {"concepts": [RED]}}, MERGE, {"data": {"concepts": [RED]}}),
    ("input", {"data": {"concepts": [RED]}}, {"data": {"concepts": [BLUE]}}, REMOVE, {"data": {"concepts": [RED]}}),
    (
        "input",
        {"data": {"metadata": {"a": 1, "deep": {"x": 1}}}},
        {"data": {"metadata": {"b": 2, "deep": {"y": 2}}}},
        MERGE,
        {"data": {"metadata": {"a": 1, "b": 2, "deep": {"x": 1, "y": 2}}}},
    ),
    ("input", {"data": {"metadata": {"a": 1}}}, {"data": {"metadata": {"a": 2}}}, "", {"data": {"metadata": {"a": 2}}}),
    (
        "input",
        {"data": {"metadata": {"a": 1, "b": 2}}},
        {"data": {"metadata": {"c": 3}}},
        OVERWRITE,
        {"data": {"metadata": {"c": 3}}},
    ),
    (
        "input",
        {"data": {"metadata": {"a": 1, "b": 2}}},
        {"data": {"metadata": {"a": True}}},
        REMOVE,
        {"data": {"metadata": {"b": 2}}},
    ),
    (
        "input",
        {"data": {"metadata": {"a": {"b": 1}}}},
        {"data": {"metadata": {"a": {}}}},
        MERGE,
        {"data": {"metadata": {"a": {}}}},
    ),
    (
        "input",
        {"data": {"metadata": {"tags": ["a"]}}},
        {"data": {"metadata": {"tags": ["b"]}}},
        MERGE,
        {"data": {"metadata": {"tags": ["a", "b"]}}},
    ),
    (
        "input",
        {"data": {"metadata": {"a": 1}}},
        {"data": {"metadata": {"a": None, "b": 1}}},
        MERGE,
        {"data": {"metadata": {"b": 1}}},
    ),
    (
        "input",
        {"data": {"geo": {"geo_point": {"longitude": 1, "latitude": 2}}}},
        {"data": {"geo": {"geo_point": {"longitude": 3, "latitude": 4}}}},
        OVERWRITE,
        {"data": {"geo": {"geo_point": {"longitude": 3, "latitude": 4}}}},
    ),
    ("input", {}, {"data": {"concepts": [RED]}}, OVERWRITE, {"data": {"text": {}, "concepts": [RED]}}),
    ("input", {"data": {"concepts": [RED]}}, {"data": {"concepts": [BLUE]}}, "replace", REFUSED),
    # annotations
    (
        "annotation",
        {"data": {"concepts": [RED]}},
        {"data": {"concepts": [BLUE]}},
        MERGE,
        {"data": {"concepts": [RED, BLUE]}},
    ),
    (
        "annotation",
        {"data": {"concepts": [RED]}},
        {"data": {"concepts": [BLUE]}},
        OVERWRITE,
        {"data": {"concepts": [BLUE]}},
    ),
    (
        "annotation",
        {"data": {"concepts": [RED, BLUE]}},
        {"data": {"concepts": [RED]}},
        REMOVE,
        {"data": {"concepts": [BLUE]}},
    ),
    (
        "annotation",
        {"data": {"regions": [{"id": "r", **BOX}]}},
        {"data": {"regions": [{"id": "r", **WIDER}]}},
        MERGE,
        {"data": {"regions": [{"id": "r", **WIDER}]}},
    ),
    (
        "annotation",
        {"data": {"regions": [{"id": "r", **BOX}]}},
        {"data": {"regions": [{"id": "s", **WIDER}]}},
        MERGE,
        {"data": {"regions": [{"id": "r"}, {"id": "s"}]}},
    ),
    (
        "annotation",
        {"data": {"regions": [{"id": "r", **BOX}, {"id": "s", **BOX}]}},
        {"data": {"regions": [{"id": "s"}]}},
        REMOVE,
        {"data": {"regions": [{"id": "r", **BOX}]}},
    ),
    (
        "annotation",
        {"data": {"concepts": [RED]}, "annotation_info": {"split": "train"}},
        {"annotation_info": {"split": "test"}},
        MERGE,
        {"annotation_info": {"split": "test"}, "data": {"concepts": [RED]}},
    ),
    ("annotation", {"data": {"concepts": [RED]}}, {"status": {"code": "ANNOTATION_PENDING"}}, MERGE, {"status": {}}),
    # data sets
    ("dataset", {"description": "old"}, {"description": "new"}, OVERWRITE, {"description": "new"}),
    ("dataset", {"description": "old", "notes": "n"}, {"description": "new"}, MERGE, {"notes": "n"}),
    ("dataset", {"metadata": {"a": 1}}, {"metadata": {"b": 2}}, MERGE, {"metadata": {"a": 1, "b": 2}}),
    ("dataset", {"metadata": {"a": 1}}, {"metadata": {"b": 2}}, OVERWRITE, {"metadata": {"b": 2}}),
    ("dataset", {"metadata": {"a": 1, "b": 2}}, {"metadata": {"b": True}}, REMOVE, {"metadata": {"a": 1}}),
    ("dataset", {"description": "old"}, {"description": "new"}, "append", REFUSED),
    # models
    ("model", {"description": "old"}, {"description": "new"}, OVERWRITE, {"description": "new"}),
    ("model", {"notes": "n"}, {"description": "new"}, MERGE, {"notes": "n", "description": "new"}),
    ("model", {"metadata": {"a": 1}}, {"metadata": {"b": 2}}, MERGE, {"metadata": {"a": 1, "b": 2}}),
    ("model", {"metadata": {"a": 1}}, {"metadata": {"b": 2}}, OVERWRITE, {"metadata": {"b": 2}}),
    ("model", {"toolkits": ["x"]}, {"toolkits": ["y"]}, MERGE, {"toolkits": ["x", "y"]}),
    ("model", {"toolkits": ["x", "y"]}, {"toolkits": ["y"]}, REMOVE, {"toolkits": ["x"]}),
    ("model", {}, {"model_type_id": "visual-detector"}, OVERWRITE, {"model_type_id": "visual-classifier"}),
    # apps: overwrite and remove alone
    ("app", {"description": "old"}, {"description": "new"}, OVERWRITE, {"description": "new"}),
    ("app", {"description": "old"}, {"sample_ms": 500}, OVERWRITE, {"description": "old", "sample_ms": 500}),
    ("app", {"metadata": {"a": 1}}, {"metadata": {"b": 2}}, OVERWRITE, {"metadata": {"b": 2}}),
    ("app", {"metadata": {"a": 1, "b": 2}}, {"metadata": {"a": True}}, REMOVE, {"metadata": {"b": 2}}),
    ("app", {"description": "old"}, {"description": "new"}, MERGE, REFUSED),
    # keys
    ("key", {"description": "old"}, {"description": "new"}, OVERWRITE, {"description": "new", "scopes": ["All"]}),
    ("key", {"scopes": ["Inputs_Get"]}, {"scopes": ["Concepts_Get"]}, OVERWRITE, {"scopes": ["Concepts_Get"]}),
    ("key", {"scopes": ["Inputs_Get", "Models_Get"]}, {"scopes": ["Models_Get"]}, REMOVE, {"scopes": ["Inputs_Get"]}),
]


@pytest.fixture(scope="module")
def http(server):
    with httpx.Client(base_url=server.base, headers={"Authorization": f"Key {server.token}"}, timeout=30) as client:
        client.post("/v2/users/lehr/apps", json={"apps": [{"id": "patching"}]})
        made = client.post(f"{APP}/inputs", json={"inputs": [{"id": "shown", "data": TEXT}]})
        assert made.status_code == 200, made.text
        yield client


_NUMBERS = count()


@pytest.mark.parametrize(
    ("name", "before", "change", "action", "after"), CASES, ids=[f"{case[0]}-{case[3]}" for case in CASES]
)
def test_patch(http, name, before, change, action, after):
    noun = NOUNS[name]
    wanted = joined({"id": f"patched{next(_NUMBERS)}"} if name != "key" else {}, noun.base, before)
    answer = http.post(noun.place, json={noun.many: [wanted]}).json()
    assert answer["status"]["code"] == 10000, answer["status"]
    made = answer.get(noun.one) or answer[noun.many][0]
    body = {noun.many: [{**_names(noun, made), **change}], "action": action}
    answer = http.patch(noun.place, json=body).json()
    if after is REFUSED:
        assert answer["status"]["code"] != 10000
        assert repr(action) in answer["status"]["details"]
        return
    assert answer["status"]["code"] == 10000, answer["status"]
    read = http.get(f"{noun.place}/{noun.read(made)}".replace(f"{noun.path or noun.many}/../", "")).json()[noun.one]
    assert_within(after, read)
    assert_within(after, answer[noun.many][0])
    assert read["id"] == made["id"] or name == "key"  # a key's secret is shown once; its handle ever after


def _names(noun: Noun, made: dict) -> dict:
    """What tells the server which one is meant."""
    return {name: made[name] for name in ("id", "input_id") if made.get(name) and (name == "id" or noun.base)}
