"""The detector's losses against loops that say what they mean."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.ops import generalized_box_iou

from lehr.learn.losses.anchor_classes import BACKGROUND, IGNORED, one_hot
from lehr.learn.losses.box_regression import giou, regressors_of, smooth_l1
from lehr.learn.losses.focal import focal_loss
from lehr.learn.losses.hard_example_mining import mine, mined_loss


def some_anchors(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    classes = torch.where(torch.rand(2, 40) < 0.2, torch.randint(3, (2, 40)), BACKGROUND)
    classes[0, :5] = IGNORED
    return torch.randn(2, 40, 3).requires_grad_(), classes


def test_focal_loss_is_the_papers_sum_over_anchors_that_count() -> None:
    logits, classes = some_anchors()
    total = 0.0
    for image in range(2):
        for anchor in range(40):
            for k in range(3):
                if classes[image, anchor] != IGNORED:
                    p = 1 / (1 + math.exp(-logits[image, anchor, k].item()))
                    is_it = classes[image, anchor].item() == k
                    p_t, alpha_t = (p, 0.25) if is_it else (1 - p, 0.75)
                    total -= alpha_t * (1 - p_t) ** 2 * math.log(p_t)
    loss = focal_loss(logits, classes, num_positives=7)
    assert loss.item() == pytest.approx(total / 7, rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[0, :5] == 0).all()
    assert (gradient[1] != 0).all()


def test_an_image_without_objects_divides_by_one() -> None:
    logits, classes = some_anchors()
    nothing = torch.full_like(classes, BACKGROUND)
    torch.testing.assert_close(
        focal_loss(logits, nothing, num_positives=0), focal_loss(logits, nothing, num_positives=1)
    )


@pytest.mark.parametrize(("ratio", "least"), [(3.0, 4), (1.0, 0), (3.0, 1000)])
def test_mining_takes_all_positives_and_each_images_costliest_background(ratio: float, least: int) -> None:
    _, classes = some_anchors()
    losses = torch.rand(2, 40)
    mined = mine(losses, classes, ratio=ratio, min_negatives=least)
    for image in range(2):
        positives = [a for a in range(40) if classes[image, a] >= 0]
        background = [a for a in range(40) if classes[image, a] == BACKGROUND]
        background.sort(key=lambda a: -losses[image, a].item())
        wanted = {*positives, *background[: max(least, round(ratio * len(positives)))]}
        assert set(mined[image].nonzero().flatten().tolist()) == wanted


def test_the_mined_loss_is_cross_entropy_per_positive() -> None:
    logits, classes = some_anchors()
    per_anchor = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, one_hot(classes, logits), reduction="none"
    ).sum(-1)
    mined = mine(per_anchor.detach(), classes, ratio=1.0, min_negatives=0)
    positives = int((classes >= 0).sum())
    loss = mined_loss(logits, classes, ratio=1.0, min_negatives=0)
    torch.testing.assert_close(loss, per_anchor[mined].sum() / positives)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[~mined] == 0).all()


def test_only_the_regressor_of_the_true_class_learns() -> None:
    deltas, classes = torch.randn(3, 4, 4, requires_grad=True), torch.tensor([2, 0, 3])
    smooth_l1(regressors_of(deltas, classes), torch.zeros(3, 4), num_positives=3).backward()
    learning = deltas.grad.abs().sum(-1) > 0
    assert learning.nonzero().tolist() == [[0, 2], [1, 0], [2, 3]]
    agnostic = torch.randn(3, 4)
    assert regressors_of(agnostic, classes) is agnostic


def test_smooth_l1_is_square_near_zero_and_straight_beyond_beta() -> None:
    deltas = torch.tensor([[0.05, -0.05, 1.0, -2.0]])
    wanted = 2 * 0.5 * 0.05**2 / 0.1 + (1 - 0.05) + (2 - 0.05)
    assert smooth_l1(deltas, torch.zeros(1, 4), num_positives=1).item() == pytest.approx(wanted)
    assert smooth_l1(deltas[:0], torch.zeros(0, 4), num_positives=0).item() == 0


def test_giou_loss_is_one_minus_the_generalised_overlap() -> None:
    ours = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 40]])
    theirs = torch.tensor([[5.0, 5, 15, 15], [50, 50, 60, 60]])
    wanted = (1 - generalized_box_iou(ours, theirs).diagonal()).sum() / 2
    torch.testing.assert_close(giou(ours, theirs, num_positives=2), wanted)
