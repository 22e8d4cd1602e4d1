"""The last layer of box regression: one set of four filters per anchor, or one per anchor and class.

With many classes the dense per-class layer costs more than the network (36 GMACs of 90 at 512 px and 80 classes). Being
linear, it is computed only where it is looked at: at the positives in training, at the best (anchor, class) pairs in
prediction. Then the choice costs nothing.

Shapes: N images, C channels, H and W cells, A anchors per cell, S sets (1 or the number of classes), P places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody writes it


class BoxRegressors(nn.Module):
    """A 3x3 convolution to A * S * 4 channels that can be evaluated at single places.

    Args:
        channels: of the map it reads.
        per_cell: anchors per cell.
        num_sets: 1, or the number of classes for `use_perclass_regression`.
    """

    def __init__(self, channels: int, per_cell: int, num_sets: int = 1) -> None:
        super().__init__()
        self.per_cell = per_cell
        self.num_sets = num_sets
        self.conv = small_convolution(channels, per_cell * num_sets * 4)

    def dense(self, tower_NCHW: Tensor) -> Tensor:
        """Offsets of every anchor and set, [N, H * W * A, S, 4]."""
        out = self.conv(tower_NCHW).permute(0, 2, 3, 1)
        return out.reshape(out.shape[0], -1, self.num_sets, 4)

    def at(self, tower_NCHW: Tensor, image_P: Tensor, anchor_P: Tensor, class_P: Tensor) -> Tensor:
        """Offsets float32 [P, 4] at chosen anchors (0 to H * W * A - 1) of chosen images, for chosen classes.

        Equal to `dense(tower)[image, anchor, class]`, and to class 0's where there is one set only.
        """
        chosen_P = class_P if self.num_sets > 1 else torch.zeros_like(class_P)
        cell_P, kind_P = anchor_P // self.per_cell, anchor_P % self.per_cell
        with torch.autocast(tower_NCHW.device.type, enabled=False):  # offsets deserve more than 8 bits
            patches = _patches(tower_NCHW, image_P, cell_P)
            sets_P = kind_P * self.num_sets + chosen_P
            weight, bias = (F.embedding(sets_P, filters) for filters in self._filters())
            return torch.baddbmm(bias[..., None], weight.unflatten(1, (4, -1)), patches[..., None])[..., 0]

    def repeat_agnostic(self, weight: Tensor, bias: Tensor) -> None:
        """Start every class's set from a trained class-agnostic layer: weight [4A, C, 3, 3], bias [4A]."""
        with torch.no_grad():
            for ours, theirs in ((self.conv.weight, weight), (self.conv.bias, bias)):
                assert ours is not None
                sets = theirs.reshape(self.per_cell, 1, 4, *theirs.shape[1:])
                ours.copy_(sets.expand(-1, self.num_sets, *sets.shape[2:]).reshape(ours.shape))

    def _filters(self) -> tuple[Tensor, Tensor]:
        """Weight [A * S, 4 * 9C] and bias [A * S, 4], float32."""
        weight, bias = self.conv.weight, self.conv.bias
        assert bias is not None
        num_filters = self.per_cell * self.num_sets
        return weight.float().permute(0, 2, 3, 1).reshape(num_filters, -1), bias.float().view(num_filters, 4)


def small_convolution(ins: int, outs: int, bias: float = 0.0) -> nn.Conv2d:
    """A 3x3 convolution as RetinaNet's heads start: weights of standard deviation 0.01, one bias."""
    conv = nn.Conv2d(ins, outs, 3, padding=1)
    nn.init.normal_(conv.weight, std=0.01)
    assert conv.bias is not None
    nn.init.constant_(conv.bias, bias)
    return conv


def _patches(map_NCHW: Tensor, image_P: Tensor, cell_P: Tensor) -> Tensor:
    """The 3x3 surroundings of cells, zero outside, float32 [P, 9C].

    Read by `embedding`, as the filters are: the gradient of plain indexing is summed in any order on several threads,
    and a resumed training would not be the same bit for bit.
    """
    height, columns = map_NCHW.shape[2:]
    padded_NHWC = F.pad(map_NCHW, (1, 1, 1, 1)).permute(0, 2, 3, 1)
    step = torch.arange(3, device=map_NCHW.device)
    rows_P31 = (cell_P // columns)[:, None, None] + step[:, None]
    columns_P13 = (cell_P % columns)[:, None, None] + step
    places_P33 = (image_P[:, None, None] * (height + 2) + rows_P31) * (columns + 2) + columns_P13
    return F.embedding(places_P33, padded_NHWC.reshape(-1, padded_NHWC.shape[3])).flatten(1).float()


class Offsets(Protocol):
    """Where predicted offsets come from, asked for single (anchor, class) pairs of one level."""

    def at(self, level: int, image_P: Tensor, anchor_P: Tensor, class_P: Tensor) -> Tensor:
        """Offsets [P, 4]."""
        ...


@dataclass(frozen=True)
class SparseOffsets:
    """Computed when asked for, from the regression towers [N, C, H, W] of every level."""

    regressors: BoxRegressors
    towers: Sequence[Tensor]

    def at(self, level: int, image_P: Tensor, anchor_P: Tensor, class_P: Tensor) -> Tensor:
        """Offsets float32 [P, 4]."""
        return self.regressors.at(self.towers[level], image_P, anchor_P, class_P)


@dataclass(frozen=True)
class DenseOffsets:
    """Computed before, per level [N, anchors, S, 4]: what an exported network gives."""

    levels: Sequence[Tensor]

    def at(self, level: int, image_P: Tensor, anchor_P: Tensor, class_P: Tensor) -> Tensor:
        """Offsets [P, 4]."""
        deltas = self.levels[level]
        return deltas[image_P, anchor_P, class_P if deltas.shape[2] > 1 else torch.zeros_like(class_P)]
