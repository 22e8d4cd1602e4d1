"""Boxes of a training set: cleaned, counted, split, and what is said of them before the training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_shapes import CONCEPTS, drawn

from lehr.errors import NoPositives, NoTrainingData
from lehr.learn.data.boxes import boxed
from lehr.learn.data.dataset import build_data
from lehr.learn.data.order import DataOrder
from lehr.learn.data.packs import Packs
from lehr.learn.items import Box, Item

ORDER = DataOrder(concepts=CONCEPTS, image_size=64, needs_boxes=True)
GOOD = Box(concept="disc", top=0.1, left=0.1, bottom=0.5, right=0.5)


def item(name: str, *boxes: Box, positives: frozenset[str] = frozenset()) -> Item:
    return Item(id=name, sha256=name, read=lambda: b"", positives=positives, boxes=boxes)


@pytest.mark.parametrize(
    "bad",
    [
        {"bottom": 0.1},
        {"left": 0.7},
        {"top": -0.5},
        {"right": 1.4},
        {"right": float("nan")},
        {"top": 1.001, "bottom": 1.01},
    ],
)
def test_boxes_that_cannot_be_are_left_out_and_told(bad: dict[str, float]) -> None:
    found = boxed(ORDER, [item("a", GOOD, replace(GOOD, **bad)), item("b", GOOD)])
    assert [len(one.boxes) for one in found.items] == [1, 1]
    [finding] = found.findings
    assert finding.kind == "bad_boxes"
    assert finding.item_ids == ("a",)
    assert "1 boxes in 1 items" in finding.text


def test_an_item_whose_boxes_are_all_bad_is_not_taken_for_one_without_objects() -> None:
    bad, other = replace(GOOD, bottom=0.1), replace(GOOD, concept="cat")
    items = [item("a", GOOD), item("spoilt", bad, other), item("half", GOOD, bad), item("other", other)]
    found = boxed(ORDER, items)
    assert [one.id for one in found.items] == ["a", "half", "other"]
    [finding] = found.findings
    assert finding.item_ids == ("spoilt", "half")
    assert "2 boxes in 2 items" in finding.text
    assert "with them 1 items that have no good one" in finding.text


def test_boxes_a_little_over_the_border_are_cut_off_without_a_word() -> None:
    found = boxed(ORDER, [item("a", replace(GOOD, top=-0.004, right=1.01))])
    assert found.findings == ()
    assert (found.items[0].boxes[0].top, found.items[0].boxes[0].right) == (0.0, 1.0)


def test_items_without_boxes_are_background_unless_they_carry_a_concept_of_the_model() -> None:
    items = [item("a", GOOD), item("empty"), item("whole", positives=frozenset({"disc"}))]
    found = boxed(ORDER, items)
    assert [one.id for one in found.items] == ["a", "empty"]
    assert [finding.kind for finding in found.findings] == ["no_boxes"]
    closed = boxed(replace(ORDER, closed_environment=True), items)
    assert [one.id for one in closed.items] == ["a"]


def test_without_any_good_box_the_sentence_says_what_there_is() -> None:
    with pytest.raises(NoTrainingData):
        boxed(ORDER, [])
    with pytest.raises(NoPositives, match="their boxes are of: cat"):
        boxed(ORDER, [item("a", replace(GOOD, concept="cat"))])
    with pytest.raises(NoPositives, match="1 carry a concept for the whole picture"):
        boxed(ORDER, [item("a", positives=frozenset({"disc"}))])


def test_boxes_are_counted_by_concept_and_follow_their_picture(packs_folder: Path) -> None:
    items = drawn(30)
    data = build_data(ORDER, items, packs=Packs(packs_folder))
    assert data.num_held_out >= 5
    by_id = {one.id: one for one in items}
    for one, boxes in zip(data.items, data.boxes_N, strict=True):
        wanted = [(box.top, box.left, box.bottom, box.right) for box in by_id[one.id].boxes]
        assert np.allclose(boxes.fractions, wanted, atol=1e-6)
        assert [CONCEPTS[label] for label in boxes.classes] == [box.concept for box in by_id[one.id].boxes]


def test_tiny_boxes_are_told_with_the_size_that_would_help(packs_folder: Path) -> None:
    small = [replace(one, boxes=tuple(_shrunk(box) for box in one.boxes)) for one in drawn(30)]
    data = build_data(ORDER, small, packs=Packs(packs_folder))
    [finding] = [finding for finding in data.findings if finding.kind == "tiny_boxes"]
    assert "image_size" in finding.text
    assert not [f for f in build_data(ORDER, drawn(30), packs=Packs(packs_folder)).findings if f.kind == "tiny_boxes"]


def _shrunk(box: Box) -> Box:
    return replace(box, bottom=box.top + 0.06, right=box.left + 0.05)
