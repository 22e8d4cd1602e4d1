"""Anchors: the boxes of fixed sizes and shapes that a dense detector classifies and moves.

torchvision's generator is not used: it rounds the boxes to whole pixels and takes ratios as height to width.
Shapes: A anchors per cell, L levels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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
        """Per level float32 [rows * columns * A, 4] x1 y1 x2 y2: by row, then column, then ratio, then scale."""
        grids = self.grids(height, width)
        return [self._level(level, rows, columns, device) for level, (rows, columns) in enumerate(grids)]

    def _level(self, level: int, rows: int, columns: int, device: torch.device | str) -> Tensor:
        cell_A4 = torch.tensor(self._cell(self.sizes[level]), device=device)
        y = torch.arange(rows, device=device, dtype=torch.float32) * STRIDES[level]
        x = torch.arange(columns, device=device, dtype=torch.float32) * STRIDES[level]
        centers = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 1, 2)
        return (torch.cat([centers, centers], -1) + cell_A4).reshape(-1, 4)

    def _cell(self, size: float) -> list[tuple[float, float, float, float]]:
        halves = [
            (size * scale * math.sqrt(ratio) / 2, size * scale / math.sqrt(ratio) / 2)
            for ratio in self.ratios
            for scale in self.scales
        ]
        return [(-x, -y, x, y) for x, y in halves]
