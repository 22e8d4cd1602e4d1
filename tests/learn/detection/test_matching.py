"""Matching against a loop over anchors and boxes."""

from __future__ import annotations

import pytest
import torch

from lehr.learn.detection.matching import match
from lehr.learn.losses.anchor_classes import BACKGROUND, IGNORED


def overlap(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (both - width * height)


def by_loops(anchors: list[list[float]], boxes: list[list[float]]) -> list[int]:
    table = [[overlap(a, b) for b in boxes] for a in anchors]
    best = [max(row[g] for row in table) for g in range(len(boxes))]
    out = []
    for row in table:
        rescued = [g for g in range(len(boxes)) if row[g] == best[g] > 0]
        nearest = max(range(len(boxes)), key=lambda g: row[g])
        if rescued:
            out.append(max(rescued, key=lambda g: row[g]))
        elif row[nearest] >= 0.5:
            out.append(nearest)
        else:
            out.append(BACKGROUND if row[nearest] < 0.4 else IGNORED)
    return out


@pytest.mark.parametrize("seed", range(5))
def test_matching_is_the_loop(seed: int) -> None:
    torch.manual_seed(seed)
    corners = torch.randint(0, 20, (200, 2)).double()
    anchors = torch.cat([corners, corners + torch.randint(4, 12, (200, 2))], 1)
    corners = torch.randint(0, 25, (8, 2)).double()
    boxes = torch.cat([corners, corners + torch.randint(2, 14, (8, 2))], 1)
    matched = match(anchors, boxes)
    assert matched.tolist() == by_loops(anchors.tolist(), boxes.tolist())
    assert BACKGROUND in matched
    assert matched.max() >= 0


def test_an_overlap_between_the_two_thresholds_is_ignored() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 4.5], [0, 0, 10, 3]])
    assert match(anchors, anchors[:1]).tolist() == [0, 0, IGNORED, BACKGROUND]


def test_a_box_that_no_anchor_resembles_still_gets_its_best_one() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    tiny = torch.tensor([[1.0, 1, 2, 2]])
    assert match(anchors, tiny).tolist() == [0, BACKGROUND]


def test_a_box_outside_of_all_anchors_takes_none_and_no_boxes_leave_background() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    assert match(anchors, torch.tensor([[50.0, 50, 60, 60]])).tolist() == [BACKGROUND, BACKGROUND]
    assert match(anchors, torch.zeros(0, 4)).tolist() == [BACKGROUND, BACKGROUND]
