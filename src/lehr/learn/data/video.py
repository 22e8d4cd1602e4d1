"""Videos as records: what is accepted, what a file says of itself, one frame; nothing here decodes (film.py does).

The kind of a video is read from its first bytes, never from a name: FFmpeg is then told which of its readers to use, so
that a playlist or any other odd thing is never opened as a video.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lehr.errors import UndecodableImage

FORMATS = ("MP4", "MOV", "3GPP", "AVI", "WMV", "MKV", "WEBM", "GIF")
"""Accepted kinds."""
READERS = {
    "MP4": "mov",
    "MOV": "mov",
    "3GPP": "mov",
    "AVI": "avi",
    "WMV": "asf",
    "MKV": "matroska",
    "WEBM": "matroska",
    "GIF": "gif",
}
"""Kind → FFmpeg's name of the one reader that may open it."""
DEFAULT_SAMPLE_MS = 1000
"""One frame a second, where nobody said otherwise."""

_PICTURES = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis")
_OLD_MOV = (b"moov", b"mdat", b"wide", b"free", b"skip")
"""First boxes of QuickTime files older than `ftyp`."""
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")


@dataclass(frozen=True, kw_only=True)
class VideoLimits:
    """What is accepted, checked before and while decoding."""

    max_bytes: int = 85 * 2**20
    """Length of the file in bytes."""
    max_pixels: int = 35_389_440
    """Width times height of a frame: 8192 x 4320."""
    max_side: int = 8_192
    """Longer side of a frame in pixels."""
    max_seconds: float = 3600.0
    """Playing time."""
    max_frames: int = 216_000
    """Frames in the file: an hour of 60 a second."""


DEFAULT_VIDEO_LIMITS = VideoLimits()


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What a video says of itself."""

    format: str
    """One of `FORMATS`."""
    width: int
    """Pixels, as seen: after the rotation that phones write."""
    height: int
    """Pixels, as seen."""
    fps: float
    """Frames a second, on average."""
    bit_rate: int
    """Bits a second, on average."""
    frame_count: int
    duration_seconds: float


@dataclass(frozen=True, kw_only=True)
class VideoInspection:
    """All that is kept of a video when it arrives."""

    info: VideoInfo
    thumbnail: bytes
    """JPEG of the frame in its middle."""


@dataclass(frozen=True, kw_only=True)
class VideoFrame:
    """One picture of a video."""

    index: int
    """Its place among the frames that were asked for, from 0."""
    time_ms: int
    """The moment that was asked for; the frame is the one on screen then."""
    number: int
    """Its place among all frames of the file, from 0."""
    pixels: np.ndarray
    """uint8 [height, width, 3], RGB, upright."""


def video_format(data: bytes) -> str:
    """One of `FORMATS`, by the first bytes. Raises UndecodableImage."""
    if data[4:8] == b"ftyp" and data[8:12] not in _PICTURES:
        return _by_brand(data[8:12])
    if data[4:8] in _OLD_MOV:
        return "MOV"
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "AVI"
    if data.startswith(_ASF):
        return "WMV"
    if data.startswith(b"\x1aE\xdf\xa3"):
        return "WEBM" if b"webm" in data[:64] else "MKV"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    what = "an empty file" if not data else f"data that begins with {data[:8].hex(' ')}"
    raise UndecodableImage(
        f"This is {what}, not a video that can be read; accepted are {', '.join(FORMATS[:-1])} and {FORMATS[-1]}."
    )


def looks_like_video(data: bytes) -> bool:
    """Whether the first bytes are those of an accepted kind."""
    try:
        video_format(data)
    except UndecodableImage:
        return False
    return True


def _by_brand(brand: bytes) -> str:
    if brand == b"qt  ":
        return "MOV"
    return "3GPP" if brand[:3] in (b"3gp", b"3g2") else "MP4"


def sample_time(index: int, sample_ms: int) -> int:
    """The middle of the index-th interval, in milliseconds: what published clients expect of frame times."""
    return (2 * index + 1) * sample_ms // 2
