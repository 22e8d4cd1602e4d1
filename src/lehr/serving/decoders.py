"""A pool of decoder processes: whatever bytes a stranger sends, the caller gets pixels or a sentence, in bounded time.

A decoder that is killed, hangs or runs out of memory takes nothing with it but the picture it was reading.
"""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from lehr.errors import Busy, LehrError, UndecodableImage
from lehr.learn.data.decode import MAX_ASPECT, Decoded, ImageInfo, Inspection, Limits, check_length
from lehr.serving import wire
from lehr.serving.children import Child, Starter, bare_environment

_START_SECONDS = 60.0
_CLOSED = "The server is shutting down. Try again in a moment."
_MAX_THUMBNAIL_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What one picture may cost."""

    limits: Limits = field(default_factory=Limits)
    """Of the picture itself."""
    memory_bytes: int = 2 << 30
    """Memory above that of an idle decoder. 2 GiB decode 89 megapixels with alpha."""
    cpu_seconds: float = 10.0
    """Computing time."""
    wall_seconds: float = 30.0
    """Time by the clock, from the order to the last byte of the answer."""
    wait_seconds: float = 60.0
    """Longest wait for a free decoder; then the caller hears Busy."""


class _Lost(UndecodableImage):
    """The decoder is gone. `is_final`: this picture's doing, do not try it again."""

    def __init__(self, sentence: str, *, is_final: bool) -> None:
        super().__init__(sentence)
        self.is_final = is_final


class DecoderPool:
    """`processes` decoders, started when first needed. Every method may be called from many threads at once."""

    def __init__(self, processes: int = 2, *, bounds: Bounds | None = None) -> None:
        self._bounds = bounds or Bounds()
        self._starter = Starter()
        self._is_closed = False
        self._decoders = [_Decoder(self._starter, self._bounds) for _ in range(processes)]
        # Last in, first out: the busiest decoder stays warm and the others may never need to start.
        self._idle: queue.LifoQueue[_Decoder] = queue.LifoQueue()
        for decoder in self._decoders:
            self._idle.put(decoder)

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

    def process_ids(self) -> Sequence[int]:
        """Of the decoders running now."""
        return [child.process.pid for child in [decoder.child for decoder in self._decoders] if child]

    def close(self) -> None:
        """Ends every decoder; requests under way hear Busy."""
        self._is_closed = True
        for decoder in self._decoders:
            decoder.kill()
        self._retire()
        self._starter.close()

    def _ask(self, order: dict[str, Any], data: bytes, *, max_bytes: int) -> tuple[dict[str, Any], np.ndarray]:
        check_length(data, self._bounds.limits)
        if self._is_closed:
            raise Busy(_CLOSED)
        try:
            decoder = self._idle.get(timeout=self._bounds.wait_seconds)
        except queue.Empty:
            raise Busy("All decoders are busy with other images. Try again in a moment.") from None
        try:
            return self._ask_twice(decoder, order, data, max_bytes)
        finally:
            self._idle.put(decoder)
            if self._is_closed:
                self._retire()

    def _retire(self) -> None:
        """After closing: lets go of what the decoders that nobody uses still hold; who waits for one hears Busy."""
        idle = []
        with contextlib.suppress(queue.Empty):
            while True:
                idle.append(self._idle.get_nowait())
        for decoder in idle:
            decoder.end()
            self._idle.put(decoder)

    def _ask_twice(
        self, decoder: _Decoder, order: dict[str, Any], data: bytes, max_bytes: int
    ) -> tuple[dict[str, Any], np.ndarray]:
        """Tries again with a new process when the first died and this picture may not be to blame."""
        for is_last in (False, True):
            if self._is_closed:
                break
            try:
                return decoder.ask(order, data, max_bytes)
            except _Lost as lost:
                if (lost.is_final or is_last) and not self._is_closed:
                    raise
        raise Busy(_CLOSED)


class _Decoder:
    """One place in the pool: a decoder process, started when needed, replaced when lost. One thread at a time."""

    def __init__(self, starter: Starter, bounds: Bounds) -> None:
        self.child: Child | None = None
        self._starter = starter
        self._bounds = bounds

    def ask(self, order: dict[str, Any], data: bytes, max_bytes: int) -> tuple[dict[str, Any], np.ndarray]:
        """One order and its answer. Raises the decoder's own error, or _Lost when there is no decoder any more."""
        sock = self._running().sock
        deadline = time.monotonic() + self._bounds.wall_seconds
        try:
            wire.send(sock, order, data, deadline=deadline)
            reply, body = wire.receive(sock, max_bytes=max_bytes, deadline=deadline)
        except TimeoutError:
            self.end()
            raise _Lost(self._too_slow(self._bounds.wall_seconds), is_final=True) from None
        except OSError as error:
            raise self._lost() from error
        if reply.get("last"):
            self.end()
        wire.raise_described(reply)
        return reply, body

    def kill(self) -> None:
        """From any thread: ends the process; the thread that is using it hears _Lost."""
        if child := self.child:
            child.process.kill()

    def _running(self) -> Child:
        if self.child and self.child.process.poll() is not None:
            self.end()
        if not self.child:
            self.child = self._started()
        return self.child

    def _started(self) -> Child:
        """A new decoder that has said it is ready."""
        environment = bare_environment(OPENBLAS_NUM_THREADS="1")
        try:
            child = self._starter.start("lehr.serving.decoder_process", self._arguments(), environment=environment)
        except RuntimeError:
            raise _Lost("The decoders have been closed.", is_final=True) from None
        try:
            wire.receive(child.sock, max_bytes=0, deadline=time.monotonic() + _START_SECONDS)
        except OSError as error:
            code = child.kill()
            raise LehrError(f"A decoder process could not start (exit code {code}); see the server's log.") from error
        return child

    def _arguments(self) -> list[str]:
        bounds = self._bounds
        return [
            *("--limits", json.dumps(asdict(bounds.limits))),
            *("--memory-bytes", str(bounds.memory_bytes)),
            *("--cpu-seconds", str(bounds.cpu_seconds)),
        ]

    def _lost(self) -> _Lost:
        """Why the decoder hung up."""
        code = self.end()
        if code == -signal.SIGXCPU:
            return _Lost(self._too_slow(self._bounds.cpu_seconds), is_final=True)
        return _Lost(f"The image could not be decoded: its decoder ended with code {code}, twice.", is_final=False)

    def _too_slow(self, seconds: float) -> str:
        return f"The image could not be decoded within {seconds:g} seconds. Re-encode it, or make it smaller."

    def end(self) -> int | None:
        """Ends the process, if there is one. Returns its exit code (negative: the signal)."""
        child, self.child = self.child, None
        return child.kill() if child else None
