"""Pictures as a detector sees them: whole, resized to their frame, several in one padded canvas. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from lehr.learn.detection.framing import batch_frame, framed_size

PADDING = 128
"""Grey around a picture in its canvas: nearly 0 once normalised, as the convolutions' own padding is."""


def framed(pixels: np.ndarray, image_size: int) -> np.ndarray:
    """A uint8 [H, W, 3] picture at its frame's size: shorter side `image_size`, or less where it is elongated."""
    height, width = framed_size(pixels.shape[0], pixels.shape[1], image_size)
    if pixels.shape[:2] == (height, width):
        return pixels
    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(resized)


def canvas(pictures: Sequence[np.ndarray], frame: tuple[int, int] | None = None) -> np.ndarray:
    """uint8 [N, H, W, 3]: framed pictures, each at its upper left corner. `frame`: H and W; None: as small as fits."""
    height, width = frame or batch_frame([(picture.shape[0], picture.shape[1]) for picture in pictures])
    padded = np.full((len(pictures), height, width, 3), PADDING, np.uint8)
    for place, picture in zip(padded, pictures, strict=True):
        place[: len(picture), : picture.shape[1]] = picture
    return padded
