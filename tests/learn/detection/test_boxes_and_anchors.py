"""Boxes, anchors and frames: round trips, and torchvision's parts as a second opinion."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator

from lehr.learn.detection.anchors import STRIDES, Anchors
from lehr.learn.detection.boxes import clip, decode, encode, from_fractions, mirror, to_fractions
from lehr.learn.detection.framing import batch_frame, framed_size


def some_boxes(count: int, seed: int = 0) -> torch.Tensor:
    corners = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) * 100
    sides = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed + 1)) * 80 + 1
    return torch.cat([corners, corners + sides], 1)


def test_decoding_undoes_encoding() -> None:
    boxes, anchors = some_boxes(50), some_boxes(50, 7)
    torch.testing.assert_close(decode(encode(boxes, anchors), anchors), boxes, rtol=1e-4, atol=1e-3)
    assert decode(torch.full((1, 4), 1e4), anchors[:1]).isfinite().all()


def test_offsets_are_centres_per_side_and_logs_of_sides() -> None:
    deltas = encode(torch.tensor([[10.0, 20, 30, 60]]), torch.tensor([[0.0, 0, 10, 20]]))
    torch.testing.assert_close(deltas, torch.tensor([[1.5, 1.5, math.log(2), math.log(2)]]))


def test_the_apis_fractions_are_rows_before_columns() -> None:
    box = torch.tensor([[10.0, 20, 30, 60]])
    fractions = to_fractions(box, height=80, width=40)
    torch.testing.assert_close(fractions, torch.tensor([[0.25, 0.25, 0.75, 0.75]]))
    torch.testing.assert_close(from_fractions(fractions, 80, 40), box)
    assert to_fractions(torch.tensor([[-5.0, -5, 50, 90]]), 80, 40).tolist() == [[0, 0, 1, 1]]


def test_mirroring_twice_is_nothing_and_clipping_stays_inside() -> None:
    boxes = some_boxes(20)
    torch.testing.assert_close(mirror(mirror(boxes, 200), 200), boxes)
    assert mirror(torch.tensor([[10.0, 0, 30, 5]]), 100).tolist() == [[70, 0, 90, 5]]
    inside = clip(boxes - 20, height=50, width=60)
    assert (inside >= 0).all()
    assert (inside <= torch.tensor([60.0, 50, 60, 50])).all()


def test_there_are_49104_anchors_at_512_pixels_of_the_right_areas_and_ratios() -> None:
    anchors = Anchors(ratios=(0.5, 1.0, 2.0))
    levels = anchors.levels(512, 512)
    assert sum(map(len, levels)) == 49_104
    for level, boxes in enumerate(levels):
        sides = (boxes[:9, 2:] - boxes[:9, :2]).tolist()
        wanted = [(ratio, scale * anchors.sizes[level]) for ratio in anchors.ratios for scale in anchors.scales]
        for (width, height), (ratio, size) in zip(sides, wanted, strict=True):
            assert width / height == pytest.approx(ratio, rel=1e-4)
            assert math.sqrt(width * height) == pytest.approx(size, rel=1e-4)


def test_anchors_are_torchvisions_before_its_rounding() -> None:
    anchors = Anchors(ratios=(0.5, 1.0, 3.0))
    sizes = tuple(tuple(size * scale for scale in anchors.scales) for size in anchors.sizes)
    theirs = AnchorGenerator(sizes, tuple((2.0, 1.0, 1 / 3) for _ in sizes))
    theirs.set_cell_anchors(torch.float32, torch.device("cpu"))
    grids = anchors.grids(96, 160)
    strides = [[torch.tensor(s), torch.tensor(s)] for s in STRIDES]
    for ours, other in zip(
        anchors.levels(96, 160), theirs.grid_anchors([list(g) for g in grids], strides), strict=True
    ):
        torch.testing.assert_close(ours, other, rtol=0, atol=0.51)


def test_frames_keep_the_whole_image_and_bound_long_ones() -> None:
    assert framed_size(480, 640, 320) == (320, 427)
    assert framed_size(100, 1000, 320) == (53, 533)
    assert batch_frame([(320, 427), (500, 320)]) == (512, 448)
