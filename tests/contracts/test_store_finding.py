"""Filters in SQL find exactly what a plain reading of the messages finds, on every database."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.structs import to_struct
from lehr.services.filters import Filters
from lehr.store import annotations, apps, concepts, datasets, facts, finding, inputs, users
from lehr.store.db import Database
from lehr.store.inputs import NewInput
from lehr.store.times import timestamp

sys.path.insert(0, str(Path(__file__).parent))
from filter_oracle import World

NUMBERS = itertools.count()
IDS, LABELS, DATASETS = ("i0", "i1", "i2", "i3", "i4", "i5"), ("dog", "cat", "owl"), ("d0", "d1")
NAMES = {"dog": "Dog", "cat": "Pet", "owl": "Pet"}
PLACES = [(48.85, 2.35), (48.86, 2.34), (-33.86, 151.2), (89.9, 10.0), (89.9, -170.0), (0.0, 179.9)]
DAY = 86_400_000_000

values = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 1.5, "a", "b"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xy"), inner, max_size=2),
    max_leaves=5,
)
objects = st.dictionaries(st.sampled_from("abc"), values, max_size=3)
labels = st.builds(resources_pb2.Concept, id=st.sampled_from(LABELS), value=st.sampled_from([0.0, 0.4, 0.5, 1.0]))
moments = st.integers(0, 6).map(lambda days: timestamp(days * DAY))
points = st.sampled_from(PLACES).map(lambda at: resources_pb2.GeoPoint(latitude=at[0], longitude=at[1]))
boxes = resources_pb2.RegionInfo(bounding_box={"top_row": 0, "left_col": 0, "bottom_row": 1, "right_col": 1})


def maybe(strategy):
    return st.none() | strategy


@st.composite
def said(draw, deep=True):
    data = resources_pb2.Data(concepts=draw(st.lists(labels, max_size=2)))
    if metadata := draw(maybe(objects)):
        data.metadata.CopyFrom(to_struct(metadata))
    if point := draw(maybe(points)):
        data.geo.geo_point.CopyFrom(point)
    if deep and draw(st.booleans()):
        track = draw(st.sampled_from(["", "t0", "t1"]))
        info = boxes if draw(st.booleans()) else resources_pb2.RegionInfo()
        region = resources_pb2.Region(region_info=info, data=draw(said(deep=False)), track_id=track)
        if draw(st.booleans()):
            data.frames.add().data.regions.append(region)
        else:
            data.regions.append(region)
    if draw(st.booleans()):
        data.text.raw = "said"
    return data


@st.composite
def worlds(draw):
    world = World()
    world.names = NAMES
    for name in IDS[: draw(st.integers(1, len(IDS)))]:
        input_ = resources_pb2.Input(id=name, created_at=draw(moments), status={"code": draw(codes)})
        getattr(input_.data, draw(st.sampled_from(["image", "text"]))).url = draw(st.sampled_from(["", "http://u/1"]))
        own = draw(said(deep=False))
        input_.data.metadata.CopyFrom(own.metadata)
        if own.HasField("geo"):
            input_.data.geo.CopyFrom(own.geo)
        world.inputs[name] = input_
    for number in range(draw(st.integers(0, 8))):
        note = resources_pb2.Annotation(
            id=f"a{number}",
            input_id=draw(st.sampled_from(sorted(world.inputs))),
            data=draw(said()),
            created_at=draw(moments),
            user_id=draw(st.sampled_from(["ann", "bob"])),
            model_version_id=draw(st.sampled_from(["", "v"])),
            task_id=draw(st.sampled_from(["", "t"])),
            trusted=draw(st.booleans()),
            input_level=draw(st.booleans()),
            status={"code": draw(st.sampled_from([24150, 24151]))},
        )
        note.annotation_info.CopyFrom(to_struct(draw(objects)))
        world.annotations.append(note)
    world.datasets = {name: draw(st.sets(st.sampled_from(sorted(world.inputs)))) for name in DATASETS}
    return world


codes = st.sampled_from([30000, 30001, 30002])
limits = st.builds(
    resources_pb2.GeoLimit,
    type=st.sampled_from(["withinKilometers", "withinMiles", "withinDegrees", "withinRadians"]),
    value=st.sampled_from([0.01, 0.3, 10.0, 50.0, 20000.0]),
)
corners = st.lists(points.map(lambda at: resources_pb2.GeoBoxedPoint(geo_point=at)), min_size=2, max_size=2)
areas = st.builds(resources_pb2.Geo, geo_point=points, geo_limit=limits) | st.builds(resources_pb2.Geo, geo_box=corners)
named = st.sampled_from(["Dog", "Pet", "owl", "none"]).map(lambda name: resources_pb2.Concept(name=name, value=1))


@st.composite
def wanted_data(draw, *, facts_only=False):
    parts = draw(
        st.sets(st.sampled_from(["concepts", "metadata", "geo", "region", "frame", "text", "url"]), max_size=2)
    )
    data = resources_pb2.Data()
    if "concepts" in parts:
        data.concepts.extend(draw(st.lists(labels | named, min_size=1, max_size=2)))
    if "metadata" in parts:
        data.metadata.CopyFrom(to_struct(draw(objects)))
    if "geo" in parts:
        data.geo.CopyFrom(draw(areas))
    if "region" in parts and not facts_only:
        data.regions.add(track_id=draw(st.sampled_from(["t0", "t9"])))
    elif "region" in parts:
        data.image.SetInParent()
    if "frame" in parts and not facts_only:
        data.regions.add(region_info=boxes)
        data.frames.add()
    if "text" in parts:
        data.text.SetInParent()
    if "url" in parts and not data.HasField("image"):
        data.image.url = "http://u/1"
    return data


@st.composite
def filters(draw):
    filter_ = resources_pb2.Filter()
    note, input_ = filter_.annotation, filter_.input
    if draw(st.booleans()):
        note.data.CopyFrom(draw(wanted_data()))
    asked = draw(
        st.sets(
            st.sampled_from(
                [
                    "id",
                    "input_id",
                    "user_id",
                    "model_version_id",
                    "task_id",
                    "info",
                    "level",
                    "trusted",
                    "status",
                    "range",
                ]
            ),
            max_size=2,
        )
    )
    choices = {
        "id": ["a0", "a3"],
        "input_id": list(IDS),
        "user_id": ["ann"],
        "model_version_id": ["v"],
        "task_id": ["t"],
    }
    for name in sorted(asked & choices.keys()):
        setattr(note, name, draw(st.sampled_from(choices[name])))
    if "info" in asked:
        note.annotation_info.CopyFrom(to_struct(draw(objects)))
    note.input_level, note.trusted = "level" in asked, "trusted" in asked
    if "status" in asked:
        note.status.code = 24151
    if "range" in asked:
        for bound, moment in (("start_time", draw(maybe(moments))), ("end_time", draw(maybe(moments)))):
            if moment is not None:
                getattr(filter_.last_updated_time_range, bound).CopyFrom(moment)
    if draw(st.booleans()):
        input_.data.CopyFrom(draw(wanted_data(facts_only=True)))
        input_.dataset_ids.extend(draw(st.lists(st.sampled_from(["d0", "d1", "none"]), max_size=2)))
        input_.id = draw(st.sampled_from(["", "", "", "i1"]))
        input_.status.code = draw(st.sampled_from([0, 30000, 30002]))
    filter_.negate = draw(st.booleans()) and _asks_for_something(filter_)
    return filter_


def _asks_for_something(filter_) -> bool:
    asked = resources_pb2.Filter()
    asked.CopyFrom(filter_)
    for data in (asked.input.data, asked.annotation.data):
        if data.HasField("metadata") and not data.metadata.fields:
            return False
    return bool(asked.input.ListFields() and asked.input.status.code) or bool(asked.annotation.user_id)


searches = st.builds(
    lambda some, as_of: resources_pb2.Search(query=resources_pb2.Query(filters=some), as_of=as_of),
    st.lists(filters(), min_size=1, max_size=3),
    maybe(moments),
)


def stored(tx, world: World) -> AppRef:
    ref = AppRef("ann", f"zoo{next(NUMBERS)}")
    apps.insert(tx, resources_pb2.App(id=ref.app_id, user_id="ann"))
    concepts.insert(tx, ref, [resources_pb2.Concept(id=id_, name=name) for id_, name in NAMES.items()])
    inputs.insert(tx, ref, [NewInput(message=message) for message in world.inputs.values()])
    annotations.insert(tx, ref, world.annotations)
    for name, members in world.datasets.items():
        datasets.insert(tx, ref, [resources_pb2.Dataset(id=name)])
        datasets.add_inputs(tx, ref, name, sorted(members))
    return ref


def found(tx, ref, search):
    asked = Filters(tx=tx, ref=ref).asked(search)
    of_inputs = finding.inputs_found(tx, ref, asked)
    of_notes = finding.annotations_found(tx, ref, asked)
    seen = [each.message.id for each in finding.page_inputs(tx, of_inputs, page=1, per_page=100)]
    noted = finding.page_annotations(tx, of_notes, page=1, per_page=100)
    assert (finding.count(tx, of_inputs), finding.count(tx, of_notes)) == (len(seen), len(noted))
    return seen, [(each.message.input_id, each.message.id) for each in noted]


def check(tx, ref, world: World, search) -> None:
    seen, noted = found(tx, ref, search)
    assert seen == world.inputs_of(search), search
    assert sorted(noted) == sorted(world.annotations_of(search)), search


@settings(
    max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(world=worlds(), wanted=st.lists(searches, min_size=3, max_size=6), cut=st.booleans())
def test_what_is_found_is_what_a_plain_reading_finds(db: Database, world: World, wanted, cut) -> None:
    kept = facts.MAX_TERMS
    facts.MAX_TERMS = 3 if cut else kept  # most messages then have too many, and are read instead
    try:
        with db.write() as tx:
            if users.count(tx) == 0:
                users.insert(tx, resources_pb2.User(id="ann"))
            ref = stored(tx, world)
            for search in wanted:
                check(tx, ref, world, search)
    finally:
        facts.MAX_TERMS = kept


@settings(
    max_examples=30, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(world=worlds(), changed=st.data(), wanted=st.lists(searches, min_size=3, max_size=6))
def test_what_changed_is_found_by_what_it_is_now(db: Database, world: World, changed, wanted) -> None:
    with db.write() as tx:
        if users.count(tx) == 0:
            users.insert(tx, resources_pb2.User(id="ann"))
        ref = stored(tx, world)
        for note in world.annotations:
            note.data.CopyFrom(changed.draw(said()))
        annotations.update(tx, ref, world.annotations)
        for input_ in world.inputs.values():
            own = changed.draw(said(deep=False))
            input_.data.metadata.CopyFrom(own.metadata)
            input_.data.geo.CopyFrom(own.geo)
        inputs.update(tx, ref, list(world.inputs.values()))
        gone = changed.draw(st.sampled_from(sorted(world.inputs)))
        inputs.delete(tx, ref, [gone])
        del world.inputs[gone]
        world.annotations = [note for note in world.annotations if note.input_id != gone]
        for search in wanted:
            check(tx, ref, world, search)


def test_nothing_of_another_app_is_found(db: Database) -> None:
    with db.write() as tx:
        users.insert(tx, resources_pb2.User(id="ann"))
        world = World()
        world.inputs = {"i0": resources_pb2.Input(id="i0", data={"metadata": to_struct({"a": 1})})}
        world.annotations = [
            resources_pb2.Annotation(id="a", input_id="i0", data={"concepts": [{"id": "dog", "value": 1}]})
        ]
        full, empty = stored(tx, world), stored(tx, World())
        by_label = resources_pb2.Filter(annotation={"data": {"concepts": [{"id": "dog", "value": 1}]}})
        by_metadata = resources_pb2.Filter(annotation={"data": {"metadata": to_struct({"a": 1})}})
        for filter_ in (by_label, by_metadata):
            search = resources_pb2.Search(query={"filters": [filter_]})
            assert found(tx, full, search) == (["i0"], [("i0", "a")])
            assert found(tx, empty, search) == ([], [])


@pytest.mark.parametrize(
    ("have", "want", "is_held"),
    [
        ({"a": [1, 2, 3]}, {"a": [1, 2]}, True),
        ({"a": {"b": "c", "d": [4, 5]}}, {"a": {"d": [5]}}, True),
        ({"a": [{"x": 1}, {"y": 2}]}, {"a": [{"x": 1, "y": 2}]}, False),
        ({"a": [{"x": 1, "y": 2}]}, {"a": [{"x": 1, "y": 2}]}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": None}, {"a": None}, True),
        ({}, {"a": None}, False),
        ({"a": {"b": 1}}, {"a": {}}, True),
        ({"a": [1]}, {"a": {}}, False),
    ],
)
def test_metadata_is_found_at_whatever_depth(db: Database, have, want, is_held) -> None:
    with db.write() as tx:
        users.insert(tx, resources_pb2.User(id="ann"))
        world = World()
        world.inputs = {"i0": resources_pb2.Input(id="i0", data={"metadata": to_struct(have)})}
        ref = stored(tx, world)
        search = resources_pb2.Search(query={"filters": [{"annotation": {"data": {"metadata": to_struct(want)}}}]})
        assert found(tx, ref, search)[0] == (["i0"] if is_held else [])
        assert world.inputs_of(search) == (["i0"] if is_held else [])
