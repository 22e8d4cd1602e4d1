"""The numpy selection that serves on CPUs against torch's, which training is evaluated with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lehr.learn.detection.anchors import anchors_of
from lehr.learn.detection.boxes import decode
from lehr.learn.detection.postprocess import select
from lehr.learn.detection.regressors import DenseOffsets
from lehr.learn.detection.retinanet import split_levels
from lehr.learn.detection.selection import RawOutputs, Selection, decoded, select_boxes

SIZE = (90, 120)
RULES = [Selection(), Selection(threshold=0.5), Selection(per_level=20), Selection(limit=3), Selection(nms_iou=0.1)]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("num_sets", [1, 3])
def test_numpy_leaves_the_boxes_that_torch_leaves(rules: Selection, num_sets: int) -> None:
    anchors = anchors_of((0.5, 1.0, 2.0), 0.4)
    levels = anchors.arrays(96, 128)
    generator = np.random.default_rng(num_sets)
    count = sum(map(len, levels))
    logits = generator.normal(-2.5, 1.5, (count, 3)).astype(np.float32)
    offsets = generator.normal(0, 0.5, (count, num_sets, 4)).astype(np.float32)
    ours = select_boxes(RawOutputs(logits=logits, offsets=offsets), levels, SIZE, rules)

    torch_levels = [torch.tensor(level) for level in levels]
    dense = DenseOffsets(split_levels(torch.from_numpy(offsets)[None], torch_levels))
    logit_levels = split_levels(torch.from_numpy(logits)[None], torch_levels)
    (theirs,) = select(logit_levels, dense, torch_levels, [SIZE], rules)
    assert len(theirs.scores) > 0
    assert np.allclose(ours.scores, theirs.scores.numpy(), atol=1e-6)
    assert ours.classes.tolist() == theirs.classes.tolist()
    assert np.allclose(ours.boxes, theirs.boxes.numpy(), atol=1e-3)


def test_wild_offsets_decode_as_in_torch() -> None:
    generator = np.random.default_rng(0)
    deltas, anchors = generator.normal(0, 20, (50, 4)), np.array([[10.0, 20, 40, 90]] * 50)
    assert np.allclose(decoded(deltas, anchors), decode(torch.tensor(deltas), torch.tensor(anchors)), rtol=1e-4)


def test_nothing_probable_leaves_nothing() -> None:
    levels = anchors_of((1.0,)).arrays(64, 64)
    count = sum(map(len, levels))
    raw = RawOutputs(logits=np.full((count, 2), -20.0, np.float32), offsets=np.zeros((count, 1, 4), np.float32))
    assert len(select_boxes(raw, levels, (64, 64), Selection()).scores) == 0
