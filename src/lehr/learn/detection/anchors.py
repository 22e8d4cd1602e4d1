"""Anchors: the boxes of fixed sizes and shapes that a dense detector classifies and moves. No torch at import.

torchvision's generator is not used: it rounds the boxes to whole pixels and takes ratios as height to width.
Shapes: A anchors per cell, L levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

STRIDES = (8, 16, 32, 64, 128)
"""Pixels per cell at levels P3 to P7."""


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """RetinaNet's anchors (arXiv 1708.02002, section 4): a size per level, scales, and ratios of width to height.

    Of every ratio and scale there is one anchor per cell, of area (size * scale) squared, centred at stride * index.
    """

    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    scales: tuple[float, ...] = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
    sizes: tuple[float, ...] = (32.0, 64.0, 128.0, 256.0, 512.0)

    @property
    def per_cell(self) -> int:
        """Number of anchors at each cell."""
        return len(self.ratios) * len(self.scales)

    def grids(self, height: int, width: int) -> list[tuple[int, int]]:
        """Rows and columns of every level's cells, for an image of this size in pixels."""
        return [(-(-height // stride), -(-width // stride)) for stride in STRIDES]

    def levels(self, height: int, width: int, device: torch.device | str = "cpu") -> list[Tensor]:
        """Per level float32 [rows * columns * A, 4] x1 y1 x2 y2: by row, then column, then ratio, then scale.

        The same tensors each time, not to be changed: a GPU would wait for new ones.
        """
        return list(_tensors(self, height, width, str(device)))

    def arrays(self, height: int, width: int) -> tuple[np.ndarray, ...]:
        """The same as numpy arrays, read-only."""
        return _arrays(self, height, width)

    def level(self, level: int, rows: int, columns: int) -> np.ndarray:
        """float32 [rows * columns * A, 4] of one level."""
        cell_A4 = np.array(self._cell(self.sizes[level]), np.float32)
        x, y = np.meshgrid(np.arange(columns) * STRIDES[level], np.arange(rows) * STRIDES[level], indexing="xy")
        centers = np.stack([x, y, x, y], -1).reshape(-1, 1, 4).astype(np.float32)
        return (centers + cell_A4).reshape(-1, 4)

    def _cell(self, size: float) -> list[tuple[float, float, float, float]]:
        halves = [
            (size * scale * math.sqrt(ratio) / 2, size * scale / math.sqrt(ratio) / 2)
            for ratio in self.ratios
            for scale in self.scales
        ]
        return [(-x, -y, x, y) for x, y in halves]


def anchors_of(ratios: Sequence[float], scale: float = 1.0) -> Anchors:
    """RetinaNet's anchors with other ratios, and sizes multiplied by `scale`: as a detector's arguments say it."""
    return Anchors(ratios=tuple(ratios), sizes=tuple(size * scale for size in Anchors().sizes))


@lru_cache(maxsize=32)
def _arrays(anchors: Anchors, height: int, width: int) -> tuple[np.ndarray, ...]:
    levels = tuple(anchors.level(number, *grid) for number, grid in enumerate(anchors.grids(height, width)))
    for level in levels:
        level.flags.writeable = False
    return levels


@lru_cache(maxsize=32)
def _tensors(anchors: Anchors, height: int, width: int, device: str) -> tuple[Tensor, ...]:
    import torch

    with torch.inference_mode(False):  # they may be made while judging, and used while learning
        return tuple(torch.tensor(level, device=device) for level in _arrays(anchors, height, width))
