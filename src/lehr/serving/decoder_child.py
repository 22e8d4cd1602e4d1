"""One place in a pool of decoders: a process, started when needed, replaced when lost. One thread at a time."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from lehr.errors import LehrError, UndecodableImage
from lehr.learn.data.decode import Limits
from lehr.learn.data.video import VideoLimits
from lehr.serving import wire
from lehr.serving.children import Child, Starter, bare_environment

_START_SECONDS = 60.0
Answer = tuple[dict[str, Any], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What one picture, or one video, may cost."""

    limits: Limits = field(default_factory=Limits)
    """Of a picture itself."""
    video_limits: VideoLimits = field(default_factory=VideoLimits)
    """Of a video itself."""
    memory_bytes: int = 2 << 30
    """Memory above that of an idle decoder. 2 GiB decode 89 megapixels with alpha."""
    cpu_seconds: float = 10.0
    """Computing time."""
    wall_seconds: float = 30.0
    """Time by the clock, from the order to the last byte of the answer."""
    wait_seconds: float = 60.0
    """Longest wait for a free decoder; then the caller hears Busy."""
    video_cpu_seconds: float = 600.0
    """Computing time of a whole video."""
    video_wall_seconds: float = 60.0
    """Time by the clock from one answer to the next: a few frames of a video, or its description."""


class LostError(UndecodableImage):
    """The decoder is gone. `is_final`: this picture's doing, do not try it again."""

    def __init__(self, sentence: str, *, is_final: bool) -> None:
        super().__init__(sentence)
        self.is_final = is_final


class Decoder:
    """One place in the pool: a decoder process, started when needed, replaced when lost. One thread at a time."""

    def __init__(self, starter: Starter, bounds: Bounds, *, what: str = "image") -> None:
        """`what` it decodes, as sentences call it: a video has its own bounds."""
        self.child: Child | None = None
        self._starter = starter
        self._bounds = bounds
        self._what = what
        self._cpu_seconds = bounds.video_cpu_seconds if what == "video" else bounds.cpu_seconds
        self._wall_seconds = bounds.video_wall_seconds if what == "video" else bounds.wall_seconds

    def ask(self, order: dict[str, Any], data: bytes, max_bytes: int) -> Answer:
        """One order and its answer. Raises the decoder's own error, or LostError when there is no decoder any more."""
        sock = self._running().sock
        deadline = time.monotonic() + self._wall_seconds
        with self._watched():
            wire.send(sock, order, data, deadline=deadline)
            reply, body = wire.receive(sock, max_bytes=max_bytes, deadline=deadline)
        if reply.get("last"):
            self.end()
        wire.raise_described(reply)
        return reply, body

    def ask_many(self, order: dict[str, Any], data: bytes, max_bytes: int) -> Generator[Answer, None, None]:
        """One order and its answers, until the decoder says that it is at the end. Raises as `ask`.

        Whoever stops listening before ends the process, which would otherwise go on talking to the next one.
        """
        is_over = False
        try:
            sock = self._running().sock
            with self._watched():
                wire.send(sock, order, data, deadline=time.monotonic() + self._wall_seconds)
            while not is_over:
                with self._watched():
                    deadline = time.monotonic() + self._wall_seconds
                    reply, body = wire.receive(sock, max_bytes=max_bytes, deadline=deadline)
                is_over = bool(reply.get("end") or "error" in reply) and not reply.get("last")
                wire.raise_described(reply)
                if not is_over:
                    yield reply, body
        finally:
            if not is_over:
                self.end()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Says why a conversation with the process came to nothing."""
        try:
            yield
        except TimeoutError:
            self.end()
            raise LostError(self._too_slow(self._wall_seconds), is_final=True) from None
        except OSError as error:
            raise self._lost() from error

    def kill(self) -> None:
        """From any thread: ends the process; the thread that is using it hears LostError."""
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
            raise LostError("The decoders have been closed.", is_final=True) from None
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
            *("--video-limits", json.dumps(asdict(bounds.video_limits))),
            *("--memory-bytes", str(bounds.memory_bytes)),
            *("--cpu-seconds", str(self._cpu_seconds)),
        ]

    def _lost(self) -> LostError:
        """Why the decoder hung up."""
        code = self.end()
        if code == -signal.SIGXCPU:
            return LostError(self._too_slow(self._cpu_seconds), is_final=True)
        return LostError(f"The {self._what} could not be decoded: its decoder ended with code {code}.", is_final=False)

    def _too_slow(self, seconds: float) -> str:
        return f"The {self._what} could not be decoded within {seconds:g} seconds. Re-encode it, or make it smaller."

    def end(self) -> int | None:
        """Ends the process, if there is one. Returns its exit code (negative: the signal)."""
        child, self.child = self.child, None
        return child.kill() if child else None
