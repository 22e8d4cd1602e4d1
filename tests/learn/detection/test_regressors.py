"""Box offsets at single places against the whole convolution."""

from __future__ import annotations

import pytest
import torch

from lehr.learn.detection.regressors import BoxRegressors, DenseOffsets, SparseOffsets


def some_places(count: int, images: int, anchors: int, classes: int) -> tuple[torch.Tensor, ...]:
    return tuple(torch.randint(top, (count,)) for top in (images, anchors, classes))


@pytest.mark.parametrize("num_sets", [1, 5])
def test_single_places_give_what_the_whole_convolution_gives_there(num_sets: int) -> None:
    torch.manual_seed(0)
    layer, tower = BoxRegressors(16, 9, num_sets), torch.randn(2, 16, 6, 4, requires_grad=True)
    image, anchor, label = some_places(300, 2, 6 * 4 * 9, 5)
    sparse = SparseOffsets(layer, [tower]).at(0, image, anchor, label)
    dense = DenseOffsets([layer.dense(tower)]).at(0, image, anchor, label)
    torch.testing.assert_close(sparse, dense, rtol=1e-6, atol=1e-6)
    seen = torch.randn(300, 4)
    for one, other in zip(
        torch.autograd.grad((sparse * seen).sum(), [tower, *layer.parameters()]),
        torch.autograd.grad((dense * seen).sum(), [tower, *layer.parameters()]),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_no_places_give_no_offsets() -> None:
    layer = BoxRegressors(16, 9, 3)
    nowhere = torch.zeros(0, dtype=torch.long)
    assert layer.at(torch.randn(1, 16, 2, 2), nowhere, nowhere, nowhere).shape == (0, 4)


def test_per_class_sets_can_start_as_copies_of_the_agnostic_one() -> None:
    torch.manual_seed(0)
    agnostic, layer, tower = BoxRegressors(8, 9), BoxRegressors(8, 9, 4), torch.randn(1, 8, 3, 3)
    torch.nn.init.normal_(agnostic.conv.bias)
    layer.repeat_agnostic(agnostic.conv.weight, agnostic.conv.bias)
    torch.testing.assert_close(layer.dense(tower), agnostic.dense(tower).expand(-1, -1, 4, -1))
