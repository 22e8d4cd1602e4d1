"""Operators: plain functions of data and pixels, each held against what a person would do by hand."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from lehr.errors import InvalidParams
from lehr.protocol import resources_pb2 as r
from lehr.protocol.structs import to_struct
from lehr.services.operators import Item, operator_of
from lehr.services.operators.image_tiling import tiles
from lehr.services.workflow_items import merged, shown


@dataclass
class Scene:
    pixels: np.ndarray = field(default_factory=lambda: np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))
    related: dict = field(default_factory=dict)

    def synonyms(self, knowledge_graph_id):
        return self.related


def boxed(name, top, left, bottom, right, **concepts):
    region = r.Region(id=name, value=0.9)
    region.region_info.bounding_box.CopyFrom(
        r.BoundingBox(top_row=top, left_col=left, bottom_row=bottom, right_col=right)
    )
    region.data.concepts.extend(r.Concept(id=key, name=key, value=value) for key, value in concepts.items())
    return region


def info(concepts=(), **params):
    made = r.OutputInfo(params=to_struct(params))
    made.data.concepts.extend(r.Concept(id=name, value=value) for name, value in concepts)
    return made


def run(type_id, item, output_info=None, scene=None):
    operator = operator_of(type_id)
    return operator.run(item, scene or Scene(), operator.settings(output_info or r.OutputInfo()))


def item_of(*regions, **concepts):
    data = r.Data(regions=regions)
    data.concepts.extend(r.Concept(id=key, name=key, value=value) for key, value in concepts.items())
    return Item(data=data)


def test_a_crop_is_the_region_and_its_rim_within_the_picture():
    scene = Scene()
    item = item_of(boxed("a", 0.5, 0.25, 1.0, 0.5), boxed("gone", 1.0, 1.0, 1.2, 1.2))
    exact = run("image-crop", item, scene=scene)
    np.testing.assert_array_equal(exact.crops["a"].pixels, scene.pixels[30:60, 20:40])
    wider = run("image-crop", item, info(margin=1.5), scene=scene)
    np.testing.assert_array_equal(wider.crops["a"].pixels, scene.pixels[22:60, 15:45])
    assert [region.id for region in exact.data.regions] == ["a"]
    assert shown(exact).regions[0].data.image.base64.startswith(b"\xff\xd8")


@pytest.mark.parametrize(("rows", "columns", "overlap"), [(1, 1, 0.0), (2, 3, 0.0), (3, 2, 0.25)])
def test_tiles_cover_every_pixel_and_reach_into_each_other_as_asked(rows, columns, overlap):
    covered = np.zeros((600, 600), int)
    windows = tiles(rows, columns, overlap)
    for top, left, bottom, right in windows:
        covered[round(top * 600) : round(bottom * 600), round(left * 600) : round(right * 600)] += 1
    assert len(windows) == rows * columns
    assert covered.min() == 1
    assert (covered.max() > 1) == (overlap > 0)


def test_aligning_turns_the_first_two_points_level():
    pixels = np.zeros((200, 200, 3), np.uint8)
    pixels[95:105, 45:55], pixels[45:55, 95:105] = (255, 0, 0), (0, 0, 255)  # red lower left, blue upper right
    region = r.Region(id="face")
    for row, column in ((0.5, 0.25), (0.25, 0.5)):
        part = region.data.regions.add()
        part.region_info.point.row, part.region_info.point.col = row, column
    crop = run("image-align", item_of(region), scene=Scene(pixels=pixels)).crops["face"].pixels
    red, blue = (np.argwhere(crop[..., channel] > 128).mean(axis=0) for channel in (0, 2))
    assert abs(red[0] - blue[0]) < 2
    assert red[1] < blue[1]
    assert abs((blue[1] - red[1]) - np.hypot(50, 50)) < 3


@pytest.mark.parametrize(
    ("comparison", "kept"),
    [
        ("GREATER_THAN", ["b"]),
        (">=", ["b", "a"]),
        ("GREATER_THAN_OR_EQUAL_TO", ["b", "a"]),
        ("=", ["a"]),
        (3, ["c"]),
        ("<=", ["a", "c"]),
    ],
)
def test_concepts_are_kept_by_how_they_stand_to_the_threshold(comparison, kept):
    found = run(
        "concept-threshold", item_of(b=0.9, a=0.6, c=0.1), info(concept_threshold_type=comparison, threshold=0.6)
    )
    assert [concept.id for concept in found.data.concepts] == kept


def test_named_concepts_have_thresholds_of_their_own_and_the_others_go():
    found = run("concept-threshold", item_of(b=0.9, a=0.6, c=0.99), info([("a", 0.5), ("b", 0.95)]))
    assert [concept.id for concept in found.data.concepts] == ["a"]


@pytest.mark.parametrize("type_id", ["region-thresholder", "region-threshold"])
def test_regions_without_a_concept_that_passes_go_with_their_pixels(type_id):
    given = item_of(boxed("x", 0, 0, 1, 1, cat=0.9, dog=0.2), boxed("y", 0, 0, 1, 1, dog=0.4))
    cut = run("image-crop", given)
    found = run(type_id, Item(data=given.data, crops=cut.crops), info(threshold=0.5))
    assert [[c.id for c in region.data.concepts] for region in found.data.regions] == [["cat"]]
    assert list(found.crops) == ["x"]


def test_synonyms_replace_concepts_and_the_higher_value_wins():
    scene = Scene(related={"n1": (r.Concept(id="flower", name="Flower"),), "n2": (r.Concept(id="flower"),)})
    item = item_of(boxed("x", 0, 0, 1, 1, n2=0.3), n1=0.4, n2=0.7, other=0.9, n3=0.2)
    found = run("concept-synonym-mapper", item, info(mapping={"n3": "leaf"}), scene)
    assert [(c.id, round(c.value, 3)) for c in found.data.concepts] == [("flower", 0.7), ("leaf", 0.2)]
    assert [c.id for c in found.data.regions[0].data.concepts] == ["flower"]


def test_a_wrong_configuration_is_refused_with_every_problem_at_once():
    with pytest.raises(InvalidParams) as refused:
        operator_of("image-crop").settings(info(margin="wide", marign=2))
    assert "marign" in refused.value.details
    assert "margin is a number from 0.1 to 10; given 'wide'" in refused.value.details


def test_what_two_nodes_say_of_one_region_is_put_together():
    left = item_of(boxed("x", 0, 0, 1, 1, cat=0.9), a=0.1)
    right = item_of(boxed("x", 0, 0, 1, 1, dog=0.4), boxed("z", 0, 0, 1, 1), a=0.3, b=0.2)
    both = merged([left, right]).data
    assert [(c.id, round(c.value, 3)) for c in both.concepts] == [("a", 0.3), ("b", 0.2)]
    assert [[c.id for c in region.data.concepts] for region in both.regions] == [["cat", "dog"], []]
