"""One decoded frame of a film: when it is on screen, and its pixels as they are seen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from av.video.frame import VideoFrame as AvFrame
from PIL import Image

from lehr.learn.data.decode import resized
from lehr.learn.data.video import VideoFrame

_TRANSPARENT = frozenset({"bgra", "rgba", "argb", "abgr", "pal8", "ya8", "gbrap", "yuva420p", "yuva422p", "yuva444p"})
_TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}


@dataclass(frozen=True)
class Shown:
    """A decoded frame, and from when on it is on screen."""

    frame: AvFrame
    number: int
    time_ms: float

    @cached_property
    def image(self) -> Image.Image:
        """RGB, upright, transparency laid on white."""
        if self.frame.format.name in _TRANSPARENT:
            rgba = Image.fromarray(self.frame.to_ndarray(format="rgba"))
            image = Image.new("RGB", rgba.size, "white")
            image.paste(rgba, mask=rgba)
        else:
            image = Image.fromarray(self.frame.to_ndarray(format="rgb24"))
        turn = _TURNS.get(self.frame.rotation % 360)
        return image.transpose(turn) if turn is not None else image

    def told(self, index: int, time_ms: int, shorter_side: int | None) -> VideoFrame:
        """As an answer, resized like a picture (decode.py)."""
        image = self.image
        if shorter_side is not None:
            image = image.resize(
                resized(image.width, image.height, shorter_side), Image.Resampling.BICUBIC, reducing_gap=3.0
            )
        return VideoFrame(index=index, time_ms=time_ms, number=self.number, pixels=np.asarray(image))
