"""How much memory a request may take, whatever it asks for."""

from __future__ import annotations

from contextlib import ExitStack
from types import SimpleNamespace

import numpy as np
import pytest

from lehr.errors import Busy, InvalidPrediction
from lehr.protocol import resources_pb2
from lehr.services import workflow_runs
from lehr.services.embedding import boxes_of, cuts
from lehr.services.operators import OPERATORS, Item
from lehr.services.workflow_items import MAX_REGIONS, Picture, given_item
from lehr.services.workflow_runs import GROUP_BYTES, WorkflowRuns, _Run

WHOLE = resources_pb2.BoundingBox(top_row=0.01, left_col=0, bottom_row=1, right_col=0.99)


def region(**shape) -> resources_pb2.Region:
    made = resources_pb2.Region(id="a")
    made.region_info.CopyFrom(resources_pb2.RegionInfo(**shape))
    return made


def points(*pairs: tuple[float, float]) -> resources_pb2.Polygon:
    return resources_pb2.Polygon(points=[resources_pb2.Point(row=row, col=col) for row, col in pairs])


def run(type_id: str, item: Item, pixels: np.ndarray) -> Item:
    operator = next(one for one in OPERATORS if one.model_type_id == type_id)
    scene = SimpleNamespace(pixels=pixels, synonyms=dict)
    return operator.run(item, scene, operator.settings(resources_pb2.OutputInfo()))


@pytest.mark.parametrize("far", [float("nan"), float("inf"), float("-inf")])
def test_a_position_that_is_no_number_is_refused_where_it_stands(far):
    for shape in (
        {"bounding_box": resources_pb2.BoundingBox(top_row=far)},
        {"polygon": points((0, 0), (0, far))},
        {"point": resources_pb2.Point(row=far)},
    ):
        data = resources_pb2.Data(regions=[region(bounding_box=WHOLE), region(**shape)])
        with pytest.raises(InvalidPrediction, match=r"data.regions\[1\]: a position is no number"):
            given_item(data)
    assert boxes_of([region(bounding_box=resources_pb2.BoundingBox(bottom_row=far, right_col=1))]) == []


def test_a_picture_comes_with_so_many_regions_and_no_more():
    enough = [region(bounding_box=WHOLE)] * MAX_REGIONS
    assert len(given_item(resources_pb2.Data(regions=enough)).data.regions) == MAX_REGIONS
    with pytest.raises(InvalidPrediction, match="at most 1000 regions; this one has 1001"):
        given_item(resources_pb2.Data(regions=[*enough, region(bounding_box=WHOLE)]))


def test_large_crops_are_windows_into_their_picture():
    pixels = np.zeros((90, 60, 3), np.uint8)
    [crop] = run(
        "image-crop", Item(data=resources_pb2.Data(regions=[region(bounding_box=WHOLE)])), pixels
    ).crops.values()
    assert np.shares_memory(crop.pixels, pixels)
    small, *large = cuts(pixels, [(0, 0, 0.1, 0.1), *[(0.01, 0, 1, 0.99)] * 9])
    assert not np.shares_memory(small, pixels)
    assert sum(not np.shares_memory(one, pixels) for one in large) <= 1


def test_what_is_turned_level_is_no_larger_than_its_picture():
    pixels = np.zeros((4, 5000, 3), np.uint8)
    item = Item(data=resources_pb2.Data(regions=[region(polygon=points((0, 0), (0, 1), (1, 1)))]))
    [crop] = run("image-align", item, pixels).crops.values()
    assert 0 < crop.pixels.size <= pixels.size
    far = Item(data=resources_pb2.Data(regions=[region(polygon=points((-1e30, -1e30), (1e30, 1e30), (0, 0)))]))
    assert all(crop.pixels.size <= pixels.size for crop in run("image-align", far, pixels).crops.values())


def runs(monkeypatch, shape: tuple[int, int]) -> tuple[_Run, list[int]]:
    """A run whose pictures all have this shape, and how many were held each time that the nodes ran."""
    held: list[int] = []

    def seen(self, item):
        picture = Picture(
            decode=lambda side: np.zeros((*shape, 3), np.uint8), given=Item(data=item.data), find_synonyms=dict
        )
        picture.at(None)
        return picture

    def through(self, pictures):
        held.append(len(pictures))
        return [[] for _ in pictures]

    monkeypatch.setattr(_Run, "_seen", seen)
    monkeypatch.setattr(_Run, "_through", through)
    predict = SimpleNamespace(video_seconds=1, threads=SimpleNamespace(map=map))
    several = WorkflowRuns(db=None, nodes=SimpleNamespace(predict=predict), writing=None)  # type: ignore[arg-type]
    stage = SimpleNamespace(stage=SimpleNamespace(sizes=(None,)))
    return _Run(ref=None, placed=[stage], runs=several, sample_ms=0), held  # type: ignore[arg-type, list-item]


def test_pictures_in_full_size_are_not_all_held_at_once(monkeypatch):
    side = round((GROUP_BYTES / 3 / 2) ** 0.5)  # two of them fill a group
    run_, held = runs(monkeypatch, (side, side))
    assert len(run_.outcomes([resources_pb2.Input()] * 10)) == 10
    assert held == [4, 4, 2]
    run_, held = runs(monkeypatch, (8, 8))
    assert len(run_.outcomes([resources_pb2.Input()] * 10)) == 10
    assert held == [10], "small ones are still predicted together"


def test_runs_in_full_size_wait_for_room(monkeypatch):
    monkeypatch.setattr(workflow_runs, "PATIENCE_SECONDS", 0.01)
    run_, _ = runs(monkeypatch, (8, 8))
    with ExitStack() as taken:
        for _ in range(workflow_runs.FULL_SIZE_RUNS):
            taken.enter_context(run_.runs.place())
        with pytest.raises(Busy, match="full size"):
            run_.outcomes([resources_pb2.Input()])
    assert len(run_.outcomes([resources_pb2.Input()])) == 1
