"""The detector's parts give on a CUDA device what they give on the CPU."""

from __future__ import annotations

import copy

import pytest
import torch

from lehr.learn.detection.detector import detector
from lehr.learn.detection.objective import DetectionObjective, TrueBoxes
from lehr.learn.detection.postprocess import select
from lehr.learn.detection.retinanet import RetinaNet
from lehr.learn.metrics.retrieval import retrieval

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def losses(net: RetinaNet, images: torch.Tensor, truth: list[TrueBoxes], **options: bool) -> list[float]:
    raw = net(images)
    objective = DetectionObjective(**options).to(images.device)
    return [part.item() for part in objective(raw.logits, net.offsets(raw), net.anchors(images), truth)]


def test_losses_and_detections_agree_across_devices() -> None:
    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    options = {"group_norm": True}
    here = detector(
        backbone="efficientnet_lite0", num_concepts=3, use_perclass_regression=True, head="lite", options=options
    ).eval()
    there = copy.deepcopy(here).cuda()
    images = torch.randn(2, 3, 128, 128)
    truth = [
        TrueBoxes(torch.tensor([[10.0, 20, 60, 90]]), torch.tensor([2])),
        TrueBoxes(torch.zeros(0, 4), torch.zeros(0).long()),
    ]
    moved = [TrueBoxes(*(part.cuda() for part in one)) for one in truth]
    for choice in ({}, {"use_focal_loss": False}, {"use_giou": True}):
        assert losses(there, images.cuda(), moved, **choice) == pytest.approx(
            losses(here, images, truth, **choice), rel=1e-3
        )
    with torch.no_grad():
        ours, theirs = here(images), there(images.cuda())
        near = select(ours.logits, here.offsets(ours), here.anchors(images), [(128, 128)] * 2)
        far = select(theirs.logits, there.offsets(theirs), there.anchors(images.cuda()), [(128, 128)] * 2)
    assert [len(one.scores) for one in near] == [len(one.scores) for one in far]


def test_retrieval_agrees_across_devices() -> None:
    torch.manual_seed(0)
    embeddings, labels = torch.randn(200, 16), torch.randint(9, (200,))
    ours, theirs = retrieval(embeddings, labels), retrieval(embeddings.cuda(), labels.cuda())
    assert ours is not None
    assert theirs is not None
    assert theirs.recall_at == pytest.approx(ours.recall_at)
    assert theirs.map_at_r == pytest.approx(ours.map_at_r)
