"""PATCH of what belongs to something else, or is made by another call than it is changed by (over REST)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import httpx
import pytest
from films import counting, film
from lehr_server import Server, wait_until
from patching import ABSENT, MERGE, OVERWRITE, REFUSED, REMOVE, assert_within, joined

APP = "/v2/users/lehr/apps/patched-parts"
EMBED = {"id": "general-image-embedding", "user_id": "clarifai", "app_id": "main"}
CLUSTER = {"id": "general-clusterering", "user_id": "clarifai", "app_id": "main"}
EMBED_NODE = {"id": "embed", "model": EMBED}
CLUSTER_NODE = {"id": "cluster", "model": CLUSTER, "node_inputs": [{"node_id": "embed"}]}


def labelled(name: str) -> dict:
    """The filter of what carries a concept."""
    return {"annotation": {"data": {"concepts": [{"id": name, "value": 1}]}}}


_NUMBERS = count()


@dataclass(frozen=True, kw_only=True)
class Part:
    """Where one kind of thing is made, changed and read."""

    many: str
    """The list's name in requests and answers."""
    place: str
    """Where it is made and changed."""
    one: str = ""
    """Its name in the answer of the call that reads it; empty: there is none, and the list is read."""
    base: Callable[[], dict] = dict
    """What each new one cannot be made without."""
    made: Callable[[dict], dict] | None = None
    """Where it is in the answer of the call that makes it, if not the first of the list."""


def named() -> dict:
    """An id that nothing has yet."""
    return {"id": f"part{next(_NUMBERS)}"}


def in_another_language() -> dict:
    """A language that the concept has no name in yet."""
    number = next(_NUMBERS)
    return {"id": f"{chr(97 + number // 26 % 26)}{chr(97 + number % 26)}"}


PARTS = {
    "workflow": Part(
        many="workflows", one="workflow", place=f"{APP}/workflows", base=lambda: {**named(), "nodes": [EMBED_NODE]}
    ),
    "dataset version": Part(
        many="dataset_versions", one="dataset_version", place=f"{APP}/datasets/d/versions", base=named
    ),
    "model version": Part(
        many="model_versions",
        one="model_version",
        place=f"{APP}/models/crop/versions",
        made=lambda answer: answer["model"]["model_version"],
    ),
    "saved search": Part(
        many="searches", one="search", place=f"{APP}/searches", base=lambda: {**named(), "save": True}
    ),
    "annotation filter": Part(
        many="annotation_filters",
        one="annotation_filter",
        place=f"{APP}/annotation_filters",
        base=lambda: {**named(), "search": {"query": {"filters": [labelled("red")]}}},
    ),
    "annotation track": Part(
        many="annotation_tracks",
        place=f"{APP}/inputs/video/annotation_tracks",
        base=lambda: {**named(), "start_frame_ms": 0, "end_frame_ms": 1000},
    ),
    "collaborator": Part(
        many="collaborators", place=f"{APP}/collaborators", base=lambda: {"user": {"id": f"friend{next(_NUMBERS)}"}}
    ),
    "concept language": Part(
        many="concept_languages",
        one="concept_language",
        place=f"{APP}/concepts/red/languages",
        base=lambda: {**in_another_language(), "name": "of old"},
    ),
}

CASES = [
    # workflows: nodes by id; other nodes make a new version
    ("workflow", {"description": "old"}, {"description": "new"}, OVERWRITE, {"description": "new"}),
    ("workflow", {}, {"nodes": [CLUSTER_NODE]}, MERGE, {"nodes": [{"id": "embed"}, {"id": "cluster"}]}),
    (
        "workflow",
        {"nodes": [EMBED_NODE, CLUSTER_NODE]},
        {"nodes": [{"id": "cluster"}]},
        REMOVE,
        {"nodes": [{"id": "embed"}]},
    ),
    ("workflow", {"nodes": [EMBED_NODE, CLUSTER_NODE]}, {"nodes": [EMBED_NODE]}, OVERWRITE, {"nodes": [{}]}),
    ("workflow", {"metadata": {"a": 1}}, {"metadata": {"b": 2}}, MERGE, {"metadata": {"a": 1, "b": 2}}),
    ("workflow", {"metadata": {"a": 1}}, {"metadata": {"b": 2}}, OVERWRITE, {"metadata": {"a": ABSENT, "b": 2}}),
    ("workflow", {}, {"description": "new"}, "append", REFUSED),
    # versions: what they hold is frozen, what is said of them is not
    ("dataset version", {"description": "old"}, {"description": "new"}, OVERWRITE, {"description": "new"}),
    ("dataset version", {"metadata": {"a": 1}}, {"metadata": {"b": 2}}, MERGE, {"metadata": {"a": 1, "b": 2}}),
    ("dataset version", {"metadata": {"a": 1, "b": 2}}, {"metadata": {"b": True}}, REMOVE, {"metadata": {"a": 1}}),
    ("dataset version", {}, {"description": "new"}, "append", REFUSED),
    ("model version", {"description": "old"}, {"description": "new"}, OVERWRITE, {"description": "new"}),
    ("model version", {"metadata": {"a": 1}}, {"metadata": {"b": 2}}, MERGE, {"metadata": {"a": 1, "b": 2}}),
    ("model version", {"metadata": {"a": 1}}, {"metadata": {"b": 2}}, OVERWRITE, {"metadata": {"a": ABSENT, "b": 2}}),
    (
        "model version",
        {},
        {"output_info": {"params": {"margin": 2}}},
        MERGE,
        {"output_info": {"params": {"margin": 1}}},
    ),
    ("model version", {}, {"description": "new"}, "append", REFUSED),
    # saved searches and annotation filters
    ("saved search", {"name": "old"}, {"name": "new"}, OVERWRITE, {"name": "new"}),
    (
        "saved search",
        {"name": "kept", "query": {"filters": [labelled("red")]}},
        {"query": {"filters": [labelled("blue")]}},
        OVERWRITE,
        {"name": "kept", "query": {"filters": [labelled("blue")]}},
    ),
    (
        "saved search",
        {"query": {"filters": [labelled("red")]}},
        {"query": {"filters": [labelled("blue")]}},
        MERGE,
        {"query": {"filters": [labelled("red"), labelled("blue")]}},
    ),
    ("saved search", {}, {"name": "new"}, "append", REFUSED),
    (
        "annotation filter",
        {},
        {"search": {"query": {"filters": [labelled("blue")]}}},
        OVERWRITE,
        {"search": {"query": {"filters": [labelled("blue")]}}},
    ),
    (
        "annotation filter",
        {},
        {"search": {"query": {"filters": [labelled("blue")]}}},
        MERGE,
        {"search": {"query": {"filters": [labelled("red"), labelled("blue")]}}},
    ),
    ("annotation filter", {}, {"search": {}}, "append", REFUSED),
    # tracks: numbers of frames follow their times
    ("annotation track", {}, {"end_frame_ms": 2000}, OVERWRITE, {"end_frame_ms": 2000, "end_frame_nr": 20}),
    (
        "annotation track",
        {"concept": {"id": "red", "value": 1}},
        {"concept": {"id": "blue", "value": 1}},
        MERGE,
        {"concept": {"id": "blue"}, "end_frame_ms": 1000},
    ),
    ("annotation track", {}, {"end_frame_ms": 2000}, REMOVE, REFUSED),
    # people: scopes
    (
        "collaborator",
        {"scopes": ["Apps_Get"]},
        {"scopes": ["Concepts_Get"]},
        MERGE,
        {"scopes": ["Apps_Get", "Concepts_Get"]},
    ),
    ("collaborator", {"scopes": ["Apps_Get"]}, {"scopes": ["Concepts_Get"]}, OVERWRITE, {"scopes": ["Concepts_Get"]}),
    (
        "collaborator",
        {"scopes": ["Apps_Get", "Concepts_Get"]},
        {"scopes": ["Apps_Get"]},
        REMOVE,
        {"scopes": ["Concepts_Get"]},
    ),
    ("collaborator", {"scopes": ["Apps_Get"]}, {"scopes": ["Concepts_Get"]}, "append", REFUSED),
    # words in other languages: overwrite alone
    ("concept language", {"definition": "a colour"}, {"name": "new"}, OVERWRITE, {"name": "new"}),
    ("concept language", {"definition": "a colour"}, {"name": "new"}, "", {"definition": "a colour"}),
    ("concept language", {}, {"name": "new"}, MERGE, REFUSED),
    # versions of workflows: each case has a workflow of its own
    ("workflow version", {"description": "old"}, {"description": "new"}, OVERWRITE, {"description": "new"}),
    ("workflow version", {"metadata": {"a": 1}}, {"metadata": {"b": 2}}, MERGE, {"metadata": {"a": 1, "b": 2}}),
    ("workflow version", {"metadata": {"a": 1}}, {"metadata": {"a": True}}, REMOVE, {"metadata": {"a": ABSENT}}),
    ("workflow version", {}, {"nodes": [CLUSTER_NODE]}, MERGE, {"nodes": [{"id": "embed"}]}),
    ("workflow version", {}, {"description": "new"}, "append", REFUSED),
]


@pytest.fixture(scope="module")
def http(server: Server):
    with httpx.Client(base_url=server.base, headers={"Authorization": f"Key {server.token}"}, timeout=60) as client:
        posted(client, "/v2/users/lehr/apps", apps=[{"id": APP.rpartition("/")[2]}])
        posted(client, f"{APP}/concepts", concepts=[{"id": "red"}, {"id": "blue"}])
        posted(client, f"{APP}/datasets", datasets=[{"id": "d"}])
        crop = {"id": "crop", "model_type_id": "image-crop", "output_info": {"params": {"margin": 1}}}
        posted(client, f"{APP}/models", model=crop)
        yield client


@pytest.fixture(scope="module")
def video(http):
    """A film of five seconds, decoded."""
    from base64 import b64encode

    shown = {"video": {"base64": b64encode(film(counting(50), fps=10)).decode()}}
    posted(http, f"{APP}/inputs", inputs=[{"id": "video", "data": shown}])
    wait_until(lambda: http.get(f"{APP}/inputs/video").json()["input"]["status"]["code"] == 30000, what="the video")


@pytest.fixture(scope="module")
def friends(server: Server):
    """Users to work with."""
    from lehr.services.users import Users
    from lehr.store.db import Database

    db = Database(f"sqlite:///{server.home / 'lehr.db'}")
    return lambda name: Users(db=db).welcome(name, f"token-of-{name}-0123456789")


def posted(http: httpx.Client, path: str, **body) -> dict:
    answer = http.post(path, json=body).json()
    assert answer["status"]["code"] == 10000, answer["status"]
    return answer


@pytest.mark.parametrize("case", CASES, ids=[f"{case[0]}-{case[3]}" for case in CASES])
def test_patch(http, request, case):
    name, before, change, action, after = case
    if name == "annotation track":
        request.getfixturevalue("video")
    part, made = new(http, name, before, request)
    answer = http.patch(part.place, json={part.many: [{"id": made["id"], **change}], "action": action}).json()
    if after is REFUSED:
        assert answer["status"]["code"] != 10000
        assert repr(action) in answer["status"]["details"]
        assert_within(before, there(http, part, made["id"]))
        return
    assert answer["status"]["code"] == 10000, answer["status"]
    assert_within(after, there(http, part, made["id"]))
    assert_within(after, answer[part.many][0])


def new(http: httpx.Client, name: str, before: dict, request) -> tuple[Part, dict]:
    """One as it is to be before, and where it is."""
    if name == "workflow version":
        workflow, made = new(http, "workflow", before, request)
        return Part(
            many="workflow_versions", one="workflow_version", place=f"{workflow.place}/{made['id']}/versions"
        ), made["version"]
    part = PARTS[name]
    base = part.base()
    if name == "collaborator":
        request.getfixturevalue("friends")(base["user"]["id"])
    answer = posted(http, part.place, **{part.many: [joined(base, before)]})
    return part, part.made(answer) if part.made else answer[part.many][0]


def there(http: httpx.Client, part: Part, its_id: str) -> dict:
    """What is read."""
    if part.one:
        return http.get(f"{part.place}/{its_id}").json()[part.one]
    [one] = [each for each in http.get(part.place, params={"per_page": 500}).json()[part.many] if each["id"] == its_id]
    return one
