"""Cuts batches of equal crops out of packed pictures of different sizes, in one indexing, on any device.

Crop, reflection at the borders and mirroring are all the same thing: a choice of source pixels. So a crop is described
by the coordinates it reads, and one gather reads the whole batch.

Shapes: B batch, S crop side, P pixels of the whole pack. Coordinates are int64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lehr.learn.data.packs import Pack


@dataclass(frozen=True, kw_only=True)
class Crops:
    """Which crop of which picture: one row per crop."""

    rows_B: np.ndarray
    """Rows of the pack."""
    top_B: np.ndarray
    """First line; may lie outside the picture, which is then reflected."""
    left_B: np.ndarray
    is_mirrored_B: np.ndarray
    side: int


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How a training crop is drawn."""

    side: int
    """Of the square crop, in pixels."""
    padding: int = 0
    """The crop may reach this many pixels over the border, where the picture is reflected."""
    flip_probability: float = 0.0
    """Probability that a crop is mirrored left to right."""

    def draw(self, pack: Pack, rows_B: np.ndarray, generator: np.random.Generator) -> Crops:
        """Random crops of the given pictures: position uniform, mirrored with `flip_probability`."""
        heights_B, widths_B = sizes(pack, rows_B)
        uniform_3B = generator.random((3, len(rows_B)))
        top_B = _placed(uniform_3B[0], heights_B - self.side, self.padding)
        left_B = _placed(uniform_3B[1], widths_B - self.side, self.padding)
        is_mirrored_B = uniform_3B[2] < self.flip_probability
        return Crops(rows_B=rows_B, top_B=top_B, left_B=left_B, is_mirrored_B=is_mirrored_B, side=self.side)


@dataclass(frozen=True, kw_only=True)
class View:
    """One way to look at a picture at prediction: where along its longer side the crop lies, and whether mirrored."""

    position: float = 0.5
    """0: at the beginning of the longer side, 0.5: in the middle, 1: at its end."""
    is_mirrored: bool = False
    is_whole: bool = False
    """The whole rectangle instead of a crop."""

    def crops(self, pack: Pack, rows_B: np.ndarray, side: int) -> Crops:
        """This view, a crop, of the given pictures."""
        assert not self.is_whole, "rectangles of different sizes make no batch"
        heights_B, widths_B = sizes(pack, rows_B)
        top_B, left_B = np.array([self.corner(h, w, side) for h, w in zip(heights_B, widths_B, strict=True)]).T
        is_mirrored_B = np.full(len(rows_B), self.is_mirrored)
        return Crops(rows_B=rows_B, top_B=top_B, left_B=left_B, is_mirrored_B=is_mirrored_B, side=side)

    def corner(self, height: int, width: int, side: int) -> tuple[int, int]:
        """(top, left) of the crop."""
        middle_top, middle_left = (height - side) // 2, (width - side) // 2
        if height > width:
            return int((height - side) * self.position), middle_left
        if width > height:
            return middle_top, int((width - side) * self.position)
        return middle_top, middle_left


def sizes(pack: Pack, rows_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(heights, widths) of the given pictures, int64 [B] each."""
    shapes = np.array([pack.records[row][:2] for row in rows_B], dtype=np.int64).reshape(-1, 2)
    return shapes[:, 0], shapes[:, 1]


def coordinates(crops: Crops, heights_B: np.ndarray, widths_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(lines, columns) that the crops read, int64 [B, S] each, inside the pictures."""
    steps_S = np.arange(crops.side)
    columns_BS = np.where(crops.is_mirrored_B[:, None], steps_S[::-1], steps_S) + crops.left_B[:, None]
    lines_BS = steps_S + crops.top_B[:, None]
    return _reflected(lines_BS, heights_B[:, None]), _reflected(columns_BS, widths_B[:, None])


def _placed(uniform_B: np.ndarray, room_B: np.ndarray, padding: int) -> np.ndarray:
    return np.floor(uniform_B * (room_B + 2 * padding + 1)).astype(np.int64) - padding


def _reflected(positions: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Positions outside 0 … length - 1 mirrored at the border pixel, as often as needed."""
    period = np.maximum(2 * (length - 1), 1)
    folded = np.abs(positions) % period
    return (
        np.minimum(folded, period - folded)
        if np.all(length > 1)
        else np.where(length > 1, np.minimum(folded, period - folded), 0)
    )
