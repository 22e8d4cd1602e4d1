"""Requests of many threads, predicted together: whatever waits when the device gets free goes in one chunk.

Nothing ever waits on purpose: an idle device takes a lone image at once, and while it computes, the next chunk gathers.
Models take turns, and so do the requests of one model, image by image: a request of 128 images delays a small one by
one chunk at most. A model that is faster so has several chunks computed at once, one in each lane.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from lehr.errors import Busy, LehrError
from lehr.serving.loaded_models import LoadedModel


@dataclass(kw_only=True)
class _Request:
    """The images of one caller and what is known of their outputs. Lanes answer it while they hold the batcher."""

    images: Sequence[np.ndarray]
    num_taken: int = 0
    is_given_up: bool = False
    outputs: dict[int, np.ndarray] = field(default_factory=dict)
    answer: Future[list[np.ndarray]] = field(default_factory=Future)

    def is_waiting(self) -> bool:
        """Whether more of its images should be computed."""
        return self.num_taken < len(self.images) and not self.is_given_up and not self.answer.done()

    def keep(self, position: int, output: np.ndarray) -> None:
        """Takes one image's output; the last one completes the answer."""
        self.outputs[position] = output
        if len(self.outputs) == len(self.images) and not self.answer.done():
            self.answer.set_result([self.outputs[place] for place in range(len(self.images))])

    def fail(self, error: Exception) -> None:
        """Ends the request with `error`, unless another of its images has ended it already."""
        if not self.answer.done():
            self.answer.set_exception(error)


Chunk = list[tuple[_Request, int]]


class Batcher:
    """One device: computes chunks in threads of its own, as many as the model of most lanes has."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: OrderedDict[int, tuple[LoadedModel, deque[_Request]]] = OrderedDict()
        self._computing: Counter[int] = Counter()
        self._busy_since: list[float | None] = []
        self._idle_since: float | None = None
        """When the last computation ended, until that was told; None while there is nothing to tell."""
        self.num_forward_calls = 0
        self.num_images = 0

    def predict(self, model: LoadedModel, images: Sequence[np.ndarray], deadline: float) -> np.ndarray:
        """Outputs [n, ...] of `images` (uint8 [h, w, 3]), in order. Raises Busy at `deadline`, or the model's error."""
        request = _Request(images=images)
        with self._changed:
            self._widen(model.lanes)
            _, requests = self._waiting.setdefault(id(model), (model, deque()))
            requests.append(request)
            self._changed.notify()
        try:
            return np.stack(request.answer.result(timeout=max(0.0, deadline - time.monotonic())))
        except TimeoutError:
            request.is_given_up = True
            raise Busy("The predictor is busy with other requests. Try again in a moment.") from None

    def busy_seconds(self) -> float:
        """How long the oldest computation under way has taken by now; 0 when idle."""
        since = min((since for since in self._busy_since if since is not None), default=None)
        return 0.0 if since is None else time.monotonic() - since

    def has_fallen_idle(self, seconds: float) -> bool:
        """Whether nothing was computed for so long; once after each time that something was."""
        with self._changed:
            is_idle = self._idle_since is not None and time.monotonic() - self._idle_since > seconds
            if is_idle and not self._computing:
                self._idle_since = None
                return True
            return False

    def _widen(self, lanes: int) -> None:
        while len(self._busy_since) < lanes:
            self._busy_since.append(None)
            lane = len(self._busy_since) - 1
            threading.Thread(target=self._run, args=(lane,), name=f"device-{lane}", daemon=True).start()

    def _run(self, lane: int) -> None:
        """A lane's thread. Without it requests are never answered, so what ends it ends the process."""
        try:
            while True:
                self._turn(lane)
        except BaseException:
            traceback.print_exc()
            os._exit(70)

    def _turn(self, lane: int) -> None:
        """One chunk. A lane that waits for the next holds none of the model of the last, which may leave meanwhile."""
        model, chunk = self._next_chunk()
        self._busy_since[lane] = time.monotonic()
        self._compute(model, chunk)
        self._busy_since[lane] = None
        self._done(model)

    def _next_chunk(self) -> tuple[LoadedModel, Chunk]:
        """Waits for work; takes up to a chunk of the model whose turn it is and that has a lane left."""
        with self._changed:
            while True:
                key = next((key for key, (model, _) in self._waiting.items() if self._has_lane(model)), None)
                if key is None:
                    self._changed.wait()
                    continue
                model, requests = self._waiting.pop(key)
                chunk = take(requests, model.chunk_size, in_turn=model.lanes == 1)
                if requests:
                    self._waiting[key] = (model, requests)
                if chunk:
                    self._computing[key] += 1
                    self._changed.notify()  # there may be work for another lane
                    return model, chunk
                del model, requests

    def _has_lane(self, model: LoadedModel) -> bool:
        return self._computing[id(model)] < model.lanes

    def _done(self, model: LoadedModel) -> None:
        """This lane goes on with whatever is next, so no other need look."""
        with self._changed:
            self._computing[id(model)] -= 1
            if not self._computing[id(model)]:
                del self._computing[id(model)]
            self._idle_since = time.monotonic()

    def _compute(self, model: LoadedModel, chunk: Chunk) -> None:
        """Runs the model; on an error halves the chunk, so that only the image that cannot be predicted fails."""
        failure = self._tried(model, chunk)
        if failure is None:
            return
        if len(chunk) == 1:
            with self._changed:
                chunk[0][0].fail(failure)
            return
        model.give_back()  # what a smaller chunk needs may lie there in pieces of the wrong size
        half = len(chunk) // 2
        self._compute(model, chunk[:half])
        self._compute(model, chunk[half:])

    def _tried(self, model: LoadedModel, chunk: Chunk) -> LehrError | None:
        """Runs the model; None, or why it failed.

        The reason comes without its traceback, which would keep alive what the failed computation had in memory.
        """
        try:
            outputs = self._forward(model, [request.images[position] for request, position in chunk])
        except Exception as error:
            if "CUDA error" in str(error):  # the device's state is lost: only a new process can go on
                raise
            return _explained(error)
        with self._changed:
            for (request, position), output in zip(chunk, outputs, strict=True):
                request.keep(position, output)
        return None

    def _forward(self, model: LoadedModel, images: list[np.ndarray]) -> list[np.ndarray]:
        with self._changed:
            self.num_forward_calls += 1
            self.num_images += len(images)
        outputs = [np.asarray(output) for output in model.predictor.predict(images)]
        if len(outputs) != len(images):
            raise LehrError(f"The model answered {len(outputs)} outputs for {len(images)} images.")
        return outputs


def take(requests: deque[_Request], most: int, *, in_turn: bool = True) -> Chunk:
    """Up to `most` images, one of each request in turn or the oldest's first; what has nothing left leaves the queue.

    The oldest first, they end one after another, and whoever keeps several under way never lets the lanes run dry.
    """
    chunk: Chunk = []
    while requests and len(chunk) < most:
        request = requests.popleft()
        if not request.is_waiting():
            continue
        chunk.append((request, request.num_taken))
        request.num_taken += 1
        if request.is_waiting():
            (requests.append if in_turn else requests.appendleft)(request)
    return chunk


def _explained(error: Exception) -> LehrError:
    if isinstance(error, LehrError):
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)
    return LehrError(f"The model could not predict this image: {type(error).__name__}: {error}")
