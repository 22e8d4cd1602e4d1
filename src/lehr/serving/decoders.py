"""A pool of decoder processes: whatever bytes a stranger sends, the caller gets pixels or a sentence, in bounded time.

A decoder that is killed, hangs or runs out of memory takes nothing with it but the picture it was reading. Videos may
take minutes: they have decoders of their own, so that pictures never wait for them.
"""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

from lehr.errors import Busy
from lehr.learn.data.decode import MAX_ASPECT, Decoded, ImageInfo, Inspection, check_length
from lehr.learn.data.video import VideoFrame, VideoInfo, VideoInspection
from lehr.serving.children import Starter
from lehr.serving.decoder_child import Answer, Bounds, Decoder, LostError
from lehr.serving.decoder_process import BATCH_BYTES

__all__ = ["Bounds", "DecoderPool"]

_CLOSED = "The server is shutting down. Try again in a moment."
_MAX_THUMBNAIL_BYTES = 16 << 20
Idle = queue.LifoQueue[Decoder]
"""Last in, first out: the busiest decoder stays warm and the others may never need to start."""


class DecoderPool:
    """`processes` decoders of pictures and as many of videos, each started when first needed.

    Every method may be called from many threads at once.
    """

    def __init__(self, processes: int = 2, *, bounds: Bounds | None = None) -> None:
        self._bounds = bounds or Bounds()
        self._starter = Starter()
        self._is_closed = False
        self._decoders = [Decoder(self._starter, self._bounds) for _ in range(processes)]
        self._films = [Decoder(self._starter, self._bounds, what="video") for _ in range(processes)]
        self._idle, self._idle_films = _idle(self._decoders), _idle(self._films)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def probe(self, data: bytes) -> ImageInfo:
        """What the header says. Raises UndecodableImage, TooLarge or Busy."""
        reply, _ = self._ask({"op": "probe"}, data, max_bytes=0)
        return ImageInfo(**reply["info"])

    def decode(self, data: bytes, *, shorter_side: int | None = None) -> Decoded:
        """Pixels, as `lehr.learn.data.decode.decode` makes them. Raises UndecodableImage, TooLarge or Busy."""
        order = {"op": "decode", "shorter_side": shorter_side}
        max_pixels = self._bounds.limits.max_pixels if shorter_side is None else int(MAX_ASPECT * shorter_side**2) + 1
        reply, body = self._ask(order, data, max_bytes=3 * max_pixels)
        pixels = body.reshape(reply["shape"])
        pixels.flags.writeable = False
        return Decoded(pixels=pixels, width=reply["width"], height=reply["height"], format=reply["format"])

    def inspect(self, data: bytes, longer_side: int = 512) -> Inspection:
        """All that an upload needs, in one trip. Raises UndecodableImage, TooLarge or Busy."""
        order = {"op": "inspect", "longer_side": longer_side}
        reply, body = self._ask(order, data, max_bytes=_MAX_THUMBNAIL_BYTES)
        return Inspection(
            info=ImageInfo(**reply["info"]), thumbnail=body.tobytes(), perceptual_hash=reply["perceptual_hash"]
        )

    def thumbnail(self, data: bytes, longer_side: int = 512) -> bytes:
        """A JPEG whose longer side is at most `longer_side`. Raises UndecodableImage, TooLarge or Busy."""
        return self.inspect(data, longer_side).thumbnail

    def probe_video(self, data: bytes) -> VideoInfo:
        """What a video says of itself. Raises UndecodableImage, TooLarge or Busy."""
        reply, _ = self._ask_film({"op": "probe_video"}, data, max_bytes=0)
        return VideoInfo(**reply["info"])

    def inspect_video(self, data: bytes, longer_side: int = 512) -> VideoInspection:
        """All that an upload needs of a video, in one trip. Raises UndecodableImage, TooLarge or Busy."""
        order = {"op": "inspect_video", "longer_side": longer_side}
        reply, body = self._ask_film(order, data, max_bytes=_MAX_THUMBNAIL_BYTES)
        return VideoInspection(info=VideoInfo(**reply["info"]), thumbnail=body.tobytes())

    def frame(self, data: bytes, time_ms: int, *, number: int = 0, shorter_side: int | None = None) -> VideoFrame:
        """One frame, as `lehr.learn.data.film.frame_at` finds it. Raises UndecodableImage, TooLarge or Busy."""
        order = {"op": "frame", "time_ms": time_ms, "number": number, "shorter_side": shorter_side}
        reply, body = self._ask_film(order, data, max_bytes=self._frame_bytes(shorter_side))
        return next(_frames([reply], body))

    def frames(
        self, data: bytes, sample_ms: int, *, shorter_side: int | None = None, max_frames: int | None = None
    ) -> Generator[list[VideoFrame], None, None]:
        """A frame per `sample_ms`, as `lehr.learn.data.film.sampled` chooses them, some at a time; close it when done.

        No more than a few MiB of frames are in memory at once, here and there. Raises UndecodableImage, TooLarge, Busy.
        """
        order = {"op": "frames", "sample_ms": sample_ms, "shorter_side": shorter_side, "max_frames": max_frames}
        max_bytes = BATCH_BYTES + self._frame_bytes(shorter_side)
        with self._film(data) as decoder, contextlib.closing(decoder.ask_many(order, data, max_bytes)) as answers:
            try:
                for reply, body in answers:
                    yield list(_frames(reply["frames"], body))
            except LostError:
                if self._is_closed:
                    raise Busy(_CLOSED) from None
                raise

    def process_ids(self) -> Sequence[int]:
        """Of the decoders running now."""
        return [child.process.pid for child in [decoder.child for decoder in self._everyone()] if child]

    def close(self) -> None:
        """Ends every decoder; requests under way hear Busy."""
        self._is_closed = True
        for decoder in self._everyone():
            decoder.kill()
        for idle in (self._idle, self._idle_films):
            _retire(idle)
        self._starter.close()

    def _everyone(self) -> list[Decoder]:
        return [*self._decoders, *self._films]

    def _frame_bytes(self, shorter_side: int | None) -> int:
        """The most that one frame takes."""
        most = self._bounds.video_limits.max_pixels
        return 3 * (most if shorter_side is None else int(MAX_ASPECT * shorter_side**2) + 1)

    def _ask(self, order: dict[str, Any], data: bytes, *, max_bytes: int) -> Answer:
        check_length(data, self._bounds.limits)
        with self._lent(self._idle, "images") as decoder:
            return self._ask_twice(decoder, order, data, max_bytes)

    def _ask_film(self, order: dict[str, Any], data: bytes, *, max_bytes: int) -> Answer:
        with self._film(data) as decoder:
            return self._ask_twice(decoder, order, data, max_bytes)

    def _film(self, data: bytes) -> contextlib.AbstractContextManager[Decoder]:
        check_length(data, replace(self._bounds.limits, max_bytes=self._bounds.video_limits.max_bytes))
        return self._lent(self._idle_films, "videos")

    @contextlib.contextmanager
    def _lent(self, idle: Idle, what: str) -> Iterator[Decoder]:
        """A decoder for one caller alone. Raises Busy."""
        if self._is_closed:
            raise Busy(_CLOSED)
        try:
            decoder = idle.get(timeout=self._bounds.wait_seconds)
        except queue.Empty:
            raise Busy(f"All decoders are busy with other {what}. Try again in a moment.") from None
        try:
            yield decoder
        finally:
            idle.put(decoder)
            if self._is_closed:
                _retire(idle)

    def _ask_twice(self, decoder: Decoder, order: dict[str, Any], data: bytes, max_bytes: int) -> Answer:
        """Tries again with a new process when the first died and this picture may not be to blame."""
        for is_last in (False, True):
            if self._is_closed:
                break
            try:
                return decoder.ask(order, data, max_bytes)
            except LostError as lost:
                if lost.is_final and not self._is_closed:
                    raise
                if is_last and not self._is_closed:
                    raise LostError(f"{lost.details.rstrip('.')}, twice.", is_final=True) from lost
        raise Busy(_CLOSED)


def _idle(decoders: Sequence[Decoder]) -> Idle:
    idle: Idle = queue.LifoQueue()
    for decoder in decoders:
        idle.put(decoder)
    return idle


def _retire(idle: Idle) -> None:
    """After closing: lets go of what the decoders that nobody uses still hold; who waits for one hears Busy."""
    unused = []
    with contextlib.suppress(queue.Empty):
        while True:
            unused.append(idle.get_nowait())
    for decoder in unused:
        decoder.end()
        idle.put(decoder)


def _frames(told: Sequence[dict[str, Any]], body: np.ndarray) -> Iterator[VideoFrame]:
    """Frames out of one answer: their facts, and their pixels end to end."""
    start = 0
    for facts in told:
        end = start + int(np.prod(facts["shape"]))
        pixels = body[start:end].reshape(facts["shape"])
        pixels.flags.writeable = False
        yield VideoFrame(index=facts["index"], time_ms=facts["time_ms"], number=facts["number"], pixels=pixels)
        start = end
