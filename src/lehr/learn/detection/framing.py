"""How large an image is made for a detector, and how images of different sizes share a batch. No pixels are touched."""

from __future__ import annotations

from collections.abc import Sequence

MAX_ASPECT = 5 / 3
"""The longer side is at most this times `image_size`; more elongated images are made smaller instead."""

STEP = 32
"""Batches are padded to a multiple of this: the coarsest map of the backbone."""


def framed_size(height: int, width: int, image_size: int) -> tuple[int, int]:
    """Height and width in pixels after resizing: the shorter side becomes `image_size`, the whole image stays."""
    scale = min(image_size / min(height, width), MAX_ASPECT * image_size / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def batch_frame(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Height and width of the batch that holds images of these sizes, each at its upper left corner."""
    height, width = (-(-max(side) // STEP) * STEP for side in zip(*sizes, strict=True))
    return height, width
