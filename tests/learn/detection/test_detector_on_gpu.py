"""The detector's parts give on a CUDA device what they give on the CPU."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lehr.learn.detection.detector import detector
from lehr.learn.detection.objective import DetectionObjective, TrueBoxes, assign
from lehr.learn.detection.postprocess import Detections, select
from lehr.learn.detection.retinanet import RetinaNet
from lehr.learn.detection.selection import EVALUATED, Selection
from lehr.learn.device import exact_products
from lehr.learn.metrics.mean_average_precision import box_iou
from lehr.learn.metrics.retrieval import retrieval

sys.path.insert(0, str(Path(__file__).parents[1]))
from devices import DEVICES

pytestmark = pytest.mark.parametrize("device", DEVICES)
WITHOUT_NMS = Selection(nms_iou=1.0, limit=100_000)


@pytest.fixture(autouse=True)
def all_bits_of_float32() -> Iterator[None]:
    with exact_products(), torch.backends.cudnn.flags(allow_tf32=False):
        yield


@pytest.fixture
def net() -> RetinaNet:
    """With random weights, whose scores lie on both sides of the threshold: fresh ones are all near 0.01."""
    torch.manual_seed(0)
    made = detector(
        backbone="efficientnet_lite0", num_concepts=3, use_perclass_regression=True, head="lite", group_norm=True
    ).eval()
    with torch.no_grad():
        made.class_logits.weight.mul_(5)
        made.class_logits.bias.fill_(-2.5)  # type: ignore[union-attr]
    return made


def losses(net: RetinaNet, images: torch.Tensor, truth: list[TrueBoxes], **options: bool) -> list[float]:
    raw = net(images)
    objective = DetectionObjective(**options).to(images.device)
    wanted = assign(net.shape.anchors.levels(*images.shape[-2:]), truth).on(images.device)
    return [part.item() for part in objective(raw.logits, net.offsets(raw), net.anchors(images), wanted)]


def detections(net: RetinaNet, images: torch.Tensor, selection: Selection = EVALUATED) -> list[Detections]:
    with torch.no_grad():
        raw = net(images)
        return select(raw.logits, net.offsets(raw), net.anchors(images), [(128, 128), (100, 120)], selection)


def share_found_again(ones: Detections, others: Detections) -> float:
    """Of the boxes of one device, those that the other gives too: same class, place and score."""
    overlaps = box_iou(ones.boxes.cpu().numpy(), others.boxes.cpu().numpy())
    is_same_class = ones.classes.cpu().numpy()[:, None] == others.classes.cpu().numpy()
    apart = np.abs(ones.scores.cpu().numpy()[:, None] - others.scores.cpu().numpy())
    return float(((overlaps > 0.98) & is_same_class & (apart < 1e-3)).any(axis=1).mean())


def test_losses_agree_across_devices(net: RetinaNet, device: str) -> None:
    there = copy.deepcopy(net).to(device)
    images = torch.randn(2, 3, 128, 128)
    truth = [
        TrueBoxes(torch.tensor([[10.0, 20, 60, 90]]), torch.tensor([2])),
        TrueBoxes(torch.zeros(0, 4), torch.zeros(0).long()),
    ]
    for choice in ({}, {"use_focal_loss": False}, {"use_giou": True}):
        expected = losses(net, images, truth, **choice)
        assert min(expected) > 0
        assert losses(there, images.to(device), truth, **choice) == pytest.approx(expected, rel=1e-3)


def test_detections_agree_across_devices(net: RetinaNet, device: str) -> None:
    there = copy.deepcopy(net).to(device)
    images = torch.randn(2, 3, 128, 128)
    for selection in (EVALUATED, Selection(limit=100_000)):
        near, far = detections(net, images, selection), detections(there, images.to(device), selection)
        for ones, others in zip(near, far, strict=True):
            assert {part.device.type for part in (others.boxes, others.scores, others.classes)} == {
                torch.device(device).type
            }
            assert len(ones.scores) >= 20
            assert share_found_again(ones, others) >= 0.98
            assert share_found_again(others, ones) >= 0.98
    for kept, everything in zip(near, detections(net, images, WITHOUT_NMS), strict=True):
        assert len(everything.scores) > 2 * len(kept.scores), "NMS had something to do"
        assert EVALUATED.threshold < float(everything.scores.min()) < 0.06, "and so had the threshold"


def test_retrieval_agrees_across_devices(device: str) -> None:
    torch.manual_seed(0)
    embeddings, labels = torch.randn(200, 16), torch.randint(9, (200,))
    ours, theirs = retrieval(embeddings, labels), retrieval(embeddings.to(device), labels.to(device))
    assert ours is not None
    assert theirs is not None
    assert theirs.recall_at == pytest.approx(ours.recall_at)
    assert theirs.map_at_r == pytest.approx(ours.map_at_r)
