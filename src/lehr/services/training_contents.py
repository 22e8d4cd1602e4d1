"""How the pictures of a training are read: those of images as they were sent, frames of videos one by one.

Frames are found by seeking, so that each costs a stretch of its video and not the whole of it; they are handed on as
BMP, which loses nothing and costs no time. Each is read once: what is kept of it is in the pack.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from lehr.learn.items import OfVideo
from lehr.serving.decoders import DecoderPool
from lehr.store.blobs import Blobs

ReadBytes = Callable[[], bytes]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Needs the blobs, and decoder processes for videos."""

    blobs: Blobs
    decoders: DecoderPool

    def picture(self, sha256: str) -> ReadBytes:
        """Reads the bytes of an image."""
        return lambda: self.blobs.read(sha256)

    def frame(self, of_video: OfVideo) -> ReadBytes:
        """Reads a frame, as the bytes of a picture. Reading raises UndecodableImage, TooLarge, Busy or NotFound."""

        def read() -> bytes:
            video = self.blobs.read(of_video.sha256)
            found = self.decoders.frame(video, of_video.time_ms, number=of_video.number)
            file = io.BytesIO()
            Image.fromarray(found.pixels).save(file, "BMP")
            return file.getvalue()

        return read


def name_of(of_video: OfVideo) -> str:
    """Stands for the frame's content: the same frame of the same video is packed once."""
    moment = f"{of_video.sha256} at {of_video.time_ms} ms, number {of_video.number}"
    return hashlib.sha256(moment.encode()).hexdigest()
