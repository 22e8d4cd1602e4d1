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
from lehr.serving import wire
from lehr.serving.supervision import Supervised

_STOPPED = "The predictor stopped while it worked on this request, and is being started again. Try again in a moment."
_SILENT = "The predictor did not answer in time, and is being started again. Try again in a moment."
_MAX_ANSWER_BYTES = 1 << 30


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
    ) -> None:
        """`memory_bytes` of models per process; `max_waiting` requests at once, then Busy.

        A process that is silent for `patience_seconds` beyond a request's timeout is killed and started again.
        `loader` names what loads a bundle's folder: `package.module:callable`.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="lehr-"))  # mkdtemp: mode 0700, nobody else may connect
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        options = ["--memory-bytes", str(memory_bytes), "--loader", loader, "--nice", "5"]
        self._processes = [
            _Process(self._folder / f"{number}.sock", options, patience_seconds) for number in range(count)
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self) -> None:
        """Returns at once; the processes come up in the background."""
        for process in self._processes:
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
        order = {
            "op": "predict",
            "bundle": str(bundle.resolve()),
            "shapes": [picture.shape for picture in pixels],
            "seconds": timeout,
        }
        with self._admitted(str(bundle)) as process:
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
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def _admitted(self, bundle: str) -> Iterator[_Process]:
        """The process to ask: the least busy, and among equals one that has served this model before."""
        with self._lock:
            serving = [process for process in self._processes if process.supervised.is_ready]
            if not serving:
                raise Loading("The predictor is still starting. Try again in a moment.")
            if sum(process.num_waiting for process in self._processes) >= self._max_waiting:
                raise Busy(f"{self._max_waiting} predictions are waiting already. Try again in a moment.")
            process = min(serving, key=lambda process: (process.num_waiting, bundle not in process.bundles))
            process.num_waiting += 1
            process.bundles.add(bundle)
        try:
            yield process
        finally:
            with self._lock:
                process.num_waiting -= 1


class _Process:
    """One predictor process and the connections to it; a connection carries one request at a time."""

    def __init__(self, path: Path, options: Sequence[str], patience_seconds: float) -> None:
        self.supervised = Supervised("lehr.serving.predictor_process", ["--socket", str(path), *options])
        self.num_waiting = 0
        self.bundles: set[str] = set()
        self._path = path
        self._patience_seconds = patience_seconds
        self._idle: list[tuple[int, socket.socket]] = []

    def ask(self, order: dict[str, Any], parts: Sequence[np.ndarray]) -> tuple[dict[str, Any], np.ndarray]:
        """One request and its answer. Raises the error that it answers, or Busy when it does not."""
        deadline = time.monotonic() + order["seconds"] + self._patience_seconds
        num_starts = self.supervised.num_starts
        try:
            connection = self._connection(num_starts)
        except OSError:
            raise Loading("The predictor is still starting. Try again in a moment.") from None
        try:
            wire.send(connection, order, *parts, deadline=deadline)
            reply, payload = wire.receive(connection, max_bytes=_MAX_ANSWER_BYTES, deadline=deadline)
        except TimeoutError:
            connection.close()
            if num_starts == self.supervised.num_starts:
                self.supervised.kill()
            raise Busy(_SILENT) from None
        except OSError:
            connection.close()
            raise Busy(_STOPPED) from None
        self._idle.append((num_starts, connection))
        wire.raise_described(reply)
        return reply, payload

    def close(self) -> None:
        """Ends the process and closes the connections that wait for reuse."""
        self.supervised.close()
        while self._idle:
            self._idle.pop()[1].close()

    def _connection(self, num_starts: int) -> socket.socket:
        """One to this very start of the process: reused, or new. Raises OSError when it does not listen."""
        while self._idle:
            try:
                start, connection = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if start == num_starts:
                return connection
            connection.close()
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(self._patience_seconds)
            connection.connect(str(self._path))
        except OSError:
            connection.close()
            raise
        return connection
