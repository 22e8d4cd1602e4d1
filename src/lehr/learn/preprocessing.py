"""From a decoded picture to the crops that a network sees at prediction; kept with every trained model. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from lehr.learn.data.crops import View
from lehr.learn.data.decode import resized

CENTER = (View(),)
BOTH_ENDS = (View(position=0.0), View(position=1.0))
"""The two ends of the longer side: our reading of the crop type "sorta2"."""
WHOLE = (View(is_whole=True),)
"""Everything at once: the networks here take rectangles of any size, and pool what they find all over them."""
_OF_CROP_TYPES = {"sorta2": BOTH_ENDS, "center": CENTER, "full": WHOLE}
_USUAL_SIDE = 224


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Shorter side resized to `image_size`, then per view a crop of `side` x `side`, or all; (x / 255 - mean) / std."""

    image_size: int
    side: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    views: tuple[View, ...] = CENTER
    """The outputs of all views are averaged."""

    def __post_init__(self) -> None:
        assert self.side <= self.image_size, f"crops of {self.side} do not fit pictures of {self.image_size}"

    @property
    def are_whole(self) -> bool:
        """Whether the network sees rectangles of different sizes instead of crops."""
        return any(view.is_whole for view in self.views)

    def at_once(self, most: int) -> int:
        """How many crops go through a network together: `most` up to 224 pixels, fewer of larger ones, for memory."""
        return max(1, min(most, most * _USUAL_SIDE**2 // self.side**2))

    def crops(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 [V, height, width, 3]: the different views of one uint8 [H, W, 3] picture of any size.

        Height and width are `side`, or those of the whole picture, resized.
        """
        pixels = self._resized(pixels)
        height, width = pixels.shape[:2]
        found: dict[tuple[int, int, bool], np.ndarray] = {}
        for view in self.views:
            top, left = (0, 0) if view.is_whole else view.corner(height, width, self.side)
            crop = pixels if view.is_whole else pixels[top : top + self.side, left : left + self.side]
            found[top, left, view.is_mirrored] = crop[:, ::-1] if view.is_mirrored else crop
        return np.stack(list(found.values()))

    def to_json(self) -> dict[str, Any]:
        """As kept in model.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The inverse of `to_json`."""
        return cls(
            image_size=values["image_size"],
            side=values["side"],
            mean=tuple(values["mean"]),
            std=tuple(values["std"]),
            views=tuple(View(**view) for view in values["views"]),
        )

    def _resized(self, pixels: np.ndarray) -> np.ndarray:
        height, width = pixels.shape[:2]
        size = self._size(width, height)
        if size == (width, height):
            return pixels
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))

    def _size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height); a whole picture is squeezed as decoding does, a strip of it would fill the memory."""
        if self.are_whole:
            return resized(width, height, self.image_size)
        scale = self.image_size / min(height, width)
        return max(self.image_size, round(width * scale)), max(self.image_size, round(height * scale))


def views_of(crop_type: str, *, are_mirrored: bool) -> tuple[View, ...]:
    """What the hyperparameters inference_crop_type and average_horizontal_flips come to."""
    views = _OF_CROP_TYPES[crop_type]
    return with_mirrors(views) if are_mirrored else views


def with_mirrors(views: tuple[View, ...]) -> tuple[View, ...]:
    """Each view, and each view mirrored."""
    return views + tuple(replace(view, is_mirrored=True) for view in views)


def crop_side(image_size: int) -> int:
    """Seven eighths of the shorter side, in whole multiples of 8: 224 for 256."""
    return 8 * round(0.875 * image_size / 8)
