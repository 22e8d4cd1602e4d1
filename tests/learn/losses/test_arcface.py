"""ArcFace against the formula with acos, against another implementation, and where acos breaks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lehr.learn.losses.arcface import ArcFace, add_margin, class_cosines, default_scale, dynamic_margins, warm_up


def with_acos(embeddings: Tensor, weight: Tensor, labels: Tensor, scale: float, margin: float) -> Tensor:
    cosines = F.normalize(embeddings) @ F.normalize(weight).T
    out = []
    for row, label in zip(cosines, labels.tolist(), strict=True):
        angle = torch.acos(row[label])
        moved = (angle + margin).cos() if angle < math.pi - margin else row[label] - margin * math.sin(margin)
        out.append(scale * torch.cat([row[:label], moved[None], row[label + 1 :]]))
    return torch.stack(out)


@pytest.mark.parametrize("margin", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("scale", [16.0, 128.0])
def test_logits_and_gradients_are_those_of_the_formula(margin: float, scale: float) -> None:
    torch.manual_seed(0)
    layer = ArcFace(8, 5, scale=scale, margin=margin).double()
    embeddings = torch.randn(60, 8, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(5, (60,))
    wanted = with_acos(embeddings, layer.weight[:, 0], labels, scale, layer.margins[0].item())  # as float32
    torch.testing.assert_close(layer(embeddings, labels), wanted, rtol=1e-9, atol=1e-9)
    ours = torch.autograd.grad(F.cross_entropy(layer(embeddings, labels), labels), [embeddings, layer.weight])
    theirs = torch.autograd.grad(F.cross_entropy(wanted, labels), [embeddings, layer.weight])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)


def test_loss_and_gradients_agree_with_pytorch_metric_learning() -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses", reason="pip install pytorch-metric-learning")
    torch.manual_seed(0)
    layer = ArcFace(16, 7, scale=32, margin=0.5)
    theirs = losses.ArcFaceLoss(7, 16, margin=math.degrees(0.5), scale=32)
    theirs.W.data = layer.weight.detach()[:, 0].T.clone()
    labels = torch.randint(7, (32,))
    one, other = (torch.randn(32, 16, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2))
    our_loss, their_loss = F.cross_entropy(layer(one, labels), labels), theirs(other, labels)
    torch.testing.assert_close(our_loss, their_loss, rtol=1e-5, atol=1e-5)
    our_loss.backward()
    their_loss.backward()
    torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(layer.weight.grad[:, 0], theirs.W.grad.T, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("cosine", [1.0, 1 - 1e-7, -1.0, -1 + 1e-7, 0.0])
def test_gradients_stay_finite_where_acos_breaks(cosine: float) -> None:
    cosines = torch.tensor([[cosine, 0.2]], requires_grad=True)
    add_margin(cosines, torch.tensor([0]), torch.tensor([0.5]))[0, 0].backward()
    assert cosines.grad[0, 0].abs() < 2
    embedding = torch.tensor([[3.0, 0.0]], requires_grad=True)
    layer = ArcFace(2, 2)
    layer.weight.data = torch.tensor([[[cosine, math.sqrt(1 - cosine**2)]], [[0.0, 1.0]]])
    F.cross_entropy(layer(embedding, torch.tensor([0])), torch.tensor([0])).backward()
    assert embedding.grad.isfinite().all()
    assert embedding.grad.abs().max() < 64


def test_the_right_class_always_gains_from_a_smaller_angle() -> None:
    cosines = torch.linspace(-1, 1, 401).requires_grad_()
    logits = add_margin(cosines[:, None], torch.zeros(401, dtype=torch.long), torch.full((401,), 0.7))
    (slopes,) = torch.autograd.grad(logits.sum(), cosines)
    assert (slopes > 0).all()


def test_the_easy_margin_leaves_wide_angles_alone() -> None:
    cosines = torch.tensor([[-0.5], [0.5]])
    moved = add_margin(cosines, torch.zeros(2, dtype=torch.long), torch.full((2,), 0.5), easy=True)
    torch.testing.assert_close(moved, torch.tensor([[-0.5], [math.cos(math.acos(0.5) + 0.5)]]))


def test_a_class_with_several_centres_answers_with_its_nearest() -> None:
    torch.manual_seed(0)
    embeddings, weight = torch.randn(4, 6), torch.randn(3, 2, 6)
    wanted = F.cosine_similarity(embeddings[:, None, None], weight[None], dim=-1).max(-1).values
    torch.testing.assert_close(class_cosines(embeddings, weight), wanted)


def test_no_labels_no_margin_and_half_precision_comes_out_as_float32() -> None:
    layer = ArcFace(6, 3, scale=10)
    embeddings = torch.randn(4, 6).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = layer(embeddings)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, 10 * class_cosines(embeddings.float(), layer.weight))


def test_the_margin_warms_up_from_nothing() -> None:
    assert [warm_up(step, 100, part=0.2) for step in (0, 10, 20, 99)] == [0.0, 0.5, 1.0, 1.0]
    torch.manual_seed(0)
    layer, embeddings, labels = ArcFace(6, 3), torch.randn(4, 6), torch.tensor([0, 1, 2, 1])
    torch.testing.assert_close(layer(embeddings, labels, share=0.0), layer(embeddings), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(layer(embeddings, labels), layer(embeddings))
    assert (default_scale(999), default_scale(1000)) == (32.0, 64.0)


def test_rare_classes_get_larger_margins() -> None:
    assert dynamic_margins([1, 16, 10_000]) == [0.5, pytest.approx(0.5 - 0.4 * 0.5 / 0.9), pytest.approx(0.1)]
    assert dynamic_margins([7, 7]) == [pytest.approx(0.1)] * 2
    torch.manual_seed(0)
    layer = ArcFace(6, 2, margin=[0.1, 0.9], scale=10)
    embeddings = layer.weight.detach()[:, 0] + 0.1 * torch.randn(2, 6)
    logits = layer(embeddings, torch.tensor([0, 1]))
    angles = class_cosines(embeddings, layer.weight).acos().diagonal()
    torch.testing.assert_close(logits.diagonal(), 10 * (angles + torch.tensor([0.1, 0.9])).cos())
