"""Small videos, rendered with PyAV: what a test wants to see in them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

KINDS = {
    "MP4": ("mp4", "libx264", "yuv420p"),
    "MOV": ("mov", "mpeg4", "yuv420p"),
    "3GPP": ("3gp", "h263", "yuv420p"),
    "AVI": ("avi", "mpeg4", "yuv420p"),
    "WMV": ("asf", "wmv2", "yuv420p"),
    "MKV": ("matroska", "libx264", "yuv420p"),
    "WEBM": ("webm", "libvpx", "yuv420p"),
    "GIF": ("gif", "gif", "rgb8"),
}
"""Kind → container, codec and pixel format that PyAV writes."""
WIDTH, HEIGHT = 176, 144
RED, GREEN, BLUE = (220, 30, 30), (30, 200, 40), (40, 50, 220)


def film(pictures: Sequence[np.ndarray], *, fps: int = 10, kind: str = "MP4", rotation: int = 0) -> bytes:
    """The pictures (uint8 [height, width, 3], of one size) as a video."""
    container, codec, pixel_format = KINDS[kind]
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=Fraction(fps))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.bit_rate = 2_000_000
        if rotation:
            stream.set_display_rotation(rotation)
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))
    return out.getvalue()


def plain(colour: tuple[int, int, int], width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A picture of one colour."""
    return np.full((height, width, 3), colour, np.uint8)


def colours(*shown: tuple[tuple[int, int, int], float], fps: int = 10, kind: str = "MP4") -> bytes:
    """A video that shows each colour for so many seconds."""
    return film([plain(colour) for colour, seconds in shown for _ in range(round(seconds * fps))], fps=fps, kind=kind)


def counting(num_frames: int) -> list[np.ndarray]:
    """Pictures whose brightness tells their number: `number_in` reads it."""
    return [plain((40 + 3 * number,) * 3) for number in range(num_frames)]


def number_in(pixels: np.ndarray) -> float:
    """What number a frame of `counting` has, by its brightness."""
    return (float(pixels.mean()) - 40) / 3
