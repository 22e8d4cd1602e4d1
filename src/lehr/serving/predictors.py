"""The control plane's handle on its predictor processes: pictures in, outputs out, and never a crash that spreads."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np

from lehr.errors import Busy, Loading
from lehr.serving import window, wire
from lehr.serving.supervision import Supervised
from lehr.serving.window import Window

_STARTING = "The predictor is still starting. Try again in a moment."
_STOPPED = "The predictor stopped while it worked on this request, and is being started again. Try again in a moment."
_SILENT = "The predictor did not answer in time, and is being started again. Try again in a moment."
_MAX_ANSWER_BYTES = 1 << 30
_SLICE_BYTES = 64 << 20
_MAX_BYTES_WAITING = 1 << 30


class Predictors:
    """`count` predictor processes, kept running. Every method may be called from many threads at once."""

    def __init__(
        self,
        count: int = 1,
        *,
        memory_bytes: int = 2 << 30,
        max_waiting: int = 256,
        patience_seconds: float = 10.0,
        loader: str = "lehr.learn.predictor:Predictor.load",
        nice: int = 1,
    ) -> None:
        """`memory_bytes` of models per process; `max_waiting` requests at once, then Busy; `nice` behind the others.

        A process that is silent for `patience_seconds` beyond a request's timeout is killed and started again.
        `loader` names what loads a bundle's folder: `package.module:callable`.
        """
        self._count = count
        self._options = ["--memory-bytes", str(memory_bytes), "--loader", loader, "--nice", str(nice)]
        self._max_waiting = max_waiting
        self._patience_seconds = patience_seconds
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._processes: list[_Process] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self) -> None:
        """Returns at once; the processes come up in the background. Call it once."""
        assert self._folder is None, "started twice"
        self._folder = Path(tempfile.mkdtemp(prefix="lehr-"))  # mkdtemp: mode 0700, nobody else may connect
        for number in range(self._count):
            process = _Process(self._folder / f"{number}.sock", self._options, self._patience_seconds)
            self._processes.append(process)
            process.supervised.start()

    def ready(self) -> bool:
        """Whether at least one process serves."""
        return any(process.supervised.is_ready for process in self._processes)

    def predict(self, bundle: Path, pixels: Sequence[np.ndarray], *, timeout: float = 60.0) -> np.ndarray:
        """Outputs [n, ...] of the model in the folder `bundle` for n >= 1 pictures (uint8 [h, w, 3]), in order.

        Raises Loading while no process serves or the model is not loaded within `timeout` seconds; Busy when too much
        is waiting or the process ended meanwhile; and whatever the model itself refuses, with its class and sentence.
        """
        assert pixels, "predict needs at least one picture"
        assert all(picture.dtype == np.uint8 and picture.ndim == 3 for picture in pixels), (
            "pictures are uint8 [h, w, 3]"
        )
        deadline = time.monotonic() + timeout
        outputs = [self._predict(bundle.resolve(), part, deadline) for part in slices(pixels)]
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)

    def _predict(self, bundle: Path, pixels: Sequence[np.ndarray], deadline: float) -> np.ndarray:
        order = {
            "op": "predict",
            "bundle": str(bundle),
            "shapes": [picture.shape for picture in pixels],
            "seconds": max(0.0, deadline - time.monotonic()),
        }
        with self._admitted(str(bundle), sum(picture.nbytes for picture in pixels)) as process:
            reply, payload = process.ask(order, pixels)
        return payload.view(np.dtype(reply["dtype"])).reshape(reply["shape"])

    def stats(self) -> list[dict[str, Any]]:
        """Of every process that serves: forward_calls, images, busy_seconds, models, has_torch, process_id, waiting."""
        found = []
        for process in self._processes:
            try:
                reply, _ = process.ask({"op": "stats", "seconds": 5.0}, ())
            except Busy:
                continue
            found.append(reply | {"process_id": process.supervised.process_id(), "waiting": process.num_waiting})
        return found

    def close(self) -> None:
        """Ends the processes; requests under way hear Busy."""
        for process in self._processes:
            process.close()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def _admitted(self, bundle: str, num_bytes: int) -> Iterator[_Process]:
        """The process to ask: the least busy, and among equals one that has served this model before."""
        with self._lock:
            process = self._chosen(bundle)
            process.num_waiting += 1
            process.bytes_waiting += num_bytes
            process.bundles.add(bundle)
        try:
            yield process
        finally:
            with self._lock:
                process.num_waiting -= 1
                process.bytes_waiting -= num_bytes

    def _chosen(self, bundle: str) -> _Process:
        """Raises Loading when no process serves, Busy when too much is waiting."""
        serving = [process for process in self._processes if process.supervised.is_ready]
        if not serving:
            raise Loading(_STARTING)
        num_waiting = sum(process.num_waiting for process in self._processes)
        bytes_waiting = sum(process.bytes_waiting for process in self._processes)
        if num_waiting >= self._max_waiting or bytes_waiting >= _MAX_BYTES_WAITING:
            raise Busy(f"{num_waiting} predictions are waiting already. Try again in a moment.")
        return min(serving, key=lambda process: (process.num_waiting, bundle not in process.bundles))


class _Process:
    """One predictor process and the connections to it; a connection carries one request at a time."""

    def __init__(self, path: Path, options: Sequence[str], patience_seconds: float) -> None:
        self.supervised = Supervised("lehr.serving.predictor_process", ["--socket", str(path), *options])
        self.num_waiting = 0
        self.bytes_waiting = 0
        self.bundles: set[str] = set()
        self._path = path
        self._patience_seconds = patience_seconds
        self._idle: list[_Connection] = []

    def ask(self, order: dict[str, Any], parts: Sequence[np.ndarray]) -> tuple[dict[str, Any], np.ndarray]:
        """One request and its answer. Raises the error that it answers, or Busy when it does not."""
        deadline = time.monotonic() + order["seconds"] + self._patience_seconds
        num_starts = self.supervised.num_starts
        try:
            connection = self._connection(num_starts)
        except OSError:
            raise Loading(_STARTING) from None
        try:
            connection.send(order, parts, deadline)
            reply, payload = wire.receive(connection.socket, max_bytes=_MAX_ANSWER_BYTES, deadline=deadline)
        except TimeoutError:
            connection.close()
            if num_starts == self.supervised.num_starts:
                self.supervised.kill()
            raise Busy(_SILENT) from None
        except OSError:
            connection.close()
            raise Busy(_STOPPED) from None
        self._idle.append(connection)
        wire.raise_described(reply)
        return reply, payload

    def close(self) -> None:
        """Ends the process and closes the connections that wait for reuse."""
        self.supervised.close()
        while self._idle:
            self._idle.pop().close()

    def _connection(self, num_starts: int) -> _Connection:
        """One to this very start of the process: reused, or new. Raises OSError when it does not listen."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if connection.num_starts == num_starts:
                return connection
            connection.close()
        new = socket.socket(socket.AF_UNIX)
        try:
            new.settimeout(self._patience_seconds)
            new.connect(str(self._path))
        except OSError:
            new.close()
            raise
        return _Connection(new, num_starts)


class _Connection:
    """Carries one request at a time, to the process as it was after so many starts."""

    def __init__(self, connected: socket.socket, num_starts: int) -> None:
        self.socket = connected
        self.num_starts = num_starts
        self._window: Window | None = None

    def send(self, order: dict[str, Any], pictures: Sequence[np.ndarray], deadline: float) -> None:
        """Raises TimeoutError at `deadline`, or OSError."""
        if not pictures or not window.is_possible():
            wire.send(self.socket, order, *pictures, deadline=deadline)
            return
        if self._window is None or not self._window.is_kept:
            self._give_up_window()
            self._window = Window()
        is_shown = self._window.lay(pictures)
        wire.send(self.socket, order | {"window": "shown" if is_shown else "same"}, deadline=deadline)
        if is_shown:
            self._window.show(self.socket)

    def close(self) -> None:
        """The process hears it, if it is still there."""
        self._give_up_window()
        self.socket.close()

    def _give_up_window(self) -> None:
        if self._window is not None:
            self._window.close()
            self._window = None


def slices(pixels: Sequence[np.ndarray]) -> Iterator[Sequence[np.ndarray]]:
    """`pixels` in order, in parts of at most 64 MiB or one picture, so that a request's memory is bounded."""
    start, num_bytes = 0, 0
    for end, picture in enumerate(pixels):
        if end > start and num_bytes + picture.nbytes > _SLICE_BYTES:
            yield pixels[start:end]
            start, num_bytes = end, 0
        num_bytes += picture.nbytes
    yield pixels[start:]
