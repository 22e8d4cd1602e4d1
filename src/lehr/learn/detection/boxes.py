"""Boxes: as pixels x1 y1 x2 y2, as the API's fractions top left bottom right, and as offsets from anchors.

Everything is elementwise in the last dimension of 4; leading dimensions are free.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lehr.learn.detection.selection import MAX_LOG_GROWTH


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Offsets that turn anchors into boxes (R-CNN, arXiv 1311.2524, appendix C): centre per side, log of the sides."""
    centers, sides = _centers_and_sides(boxes)
    anchor_centers, anchor_sides = _centers_and_sides(anchors)
    return torch.cat([(centers - anchor_centers) / anchor_sides, (sides.clamp_min(1e-3) / anchor_sides).log()], -1)


def decode(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Boxes in pixels, float32 at least: the inverse of `encode`."""
    deltas = deltas.to(torch.promote_types(deltas.dtype, torch.float32))
    anchor_centers, anchor_sides = _centers_and_sides(anchors)
    centers = deltas[..., :2] * anchor_sides + anchor_centers
    sides = deltas[..., 2:].clamp(max=MAX_LOG_GROWTH).exp() * anchor_sides
    return torch.cat([centers - sides / 2, centers + sides / 2], -1)


def clip(boxes: Tensor, height: float, width: float) -> Tensor:
    """Boxes cut off at the image's border."""
    return torch.minimum(boxes.clamp_min(0), boxes.new_tensor([width, height, width, height]))


def mirror(boxes: Tensor, width: float) -> Tensor:
    """Boxes of the horizontally mirrored image."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([width - x2, y1, width - x1, y2], -1)


def to_fractions(boxes: Tensor, height: float, width: float) -> Tensor:
    """The API's `bounding_box`: top_row, left_col, bottom_row, right_col as fractions of the image, within [0, 1]."""
    return (boxes / boxes.new_tensor([width, height, width, height]))[..., [1, 0, 3, 2]].clamp(0, 1)


def from_fractions(rows_and_columns: Tensor, height: float, width: float) -> Tensor:
    """Pixels x1 y1 x2 y2 of the API's top_row, left_col, bottom_row, right_col."""
    return rows_and_columns[..., [1, 0, 3, 2]] * rows_and_columns.new_tensor([width, height, width, height])


def _centers_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
