"""One predictor: loads trained models from their folders and answers pictures with outputs, many requests at a time.

Run by `Predictors` as `python -m lehr.serving.predictor_process --socket PATH`. One thread per connection, one for the
device. Imports no torch by itself: a model brings it when it has no other way to be served.
"""

from __future__ import annotations

import argparse
import importlib
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from lehr.errors import LehrError, Loading
from lehr.serving import window, wire
from lehr.serving.batching import Batcher
from lehr.serving.children import die_with_parent
from lehr.serving.loaded_models import LoadedModels, Predicts

MAX_REQUEST_BYTES = 1 << 30
_STUCK_SECONDS = 300.0
_IDLE_SECONDS = 30.0
"""After which others may have the memory that is kept for the next request."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """What every connection works with."""

    models: LoadedModels
    batcher: Batcher

    def serve(self, connection: socket.socket) -> None:
        """Answers the requests of one connection, one after another, until it closes."""
        shared = np.zeros(0, np.uint8)
        with connection:
            try:
                while True:
                    order, payload = wire.receive(connection, max_bytes=MAX_REQUEST_BYTES)
                    if order.get("window") == "shown":
                        shared = window.seen(connection)
                    self._answer(connection, order, shared if "window" in order else payload)
                    if len(shared) > window.KEPT_BYTES:
                        shared = shared[:0].copy()
            except wire.HangUpError:
                return

    def give_back_when_idle(self, seconds: float) -> None:
        """Once, after so long without anything to compute: lets other processes have what is kept and not used."""
        if self.batcher.has_fallen_idle(seconds):
            self.models.give_back()

    def _answer(self, connection: socket.socket, order: dict[str, Any], payload: np.ndarray) -> None:
        try:
            if order["op"] == "stats":
                wire.send(connection, self._stats())
                return
            outputs = self._predict(order, payload)
        except LehrError as error:
            wire.send(connection, wire.described(error))
            return
        wire.send(connection, {"shape": outputs.shape, "dtype": outputs.dtype.str}, outputs)

    def _predict(self, order: dict[str, Any], payload: np.ndarray) -> np.ndarray:
        deadline = time.monotonic() + order["seconds"]
        try:
            model = self.models.get(Path(order["bundle"]), order["seconds"])
        except TimeoutError:
            raise Loading("The model is still loading. Try again in a moment.") from None
        return self.batcher.predict(model, split(payload, order["shapes"]), deadline)

    def _stats(self) -> dict[str, Any]:
        return {
            "forward_calls": self.batcher.num_forward_calls,
            "images": self.batcher.num_images,
            "busy_seconds": self.batcher.busy_seconds(),
            "models": self.models.names(),
            "has_torch": "torch" in sys.modules,
        }


def split(payload: np.ndarray, shapes: list[list[int]]) -> list[np.ndarray]:
    """The pictures (uint8 [h, w, 3]) that lie one after another at the beginning of `payload`, without copying."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    parts = np.split(payload[: ends[-1]], ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def loader(name: str) -> Callable[[Path], Predicts]:
    """The callable named `package.module:Name.attribute`."""
    module, _, attributes = name.partition(":")
    found: Any = reduce(getattr, attributes.split("."), importlib.import_module(module))
    return found


def main() -> None:
    """Serves until the parent ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--memory-bytes", type=int, required=True)
    parser.add_argument("--loader", required=True)
    parser.add_argument("--nice", type=int, default=0)
    options = parser.parse_args()
    die_with_parent(options.parent)
    os.nice(options.nice)
    server = Server(models=LoadedModels(loader(options.loader), options.memory_bytes), batcher=Batcher())
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(fileno=options.fd) as lifeline:
        options.socket.unlink(missing_ok=True)
        listener.bind(str(options.socket))
        listener.listen(256)
        wire.send(lifeline, {"ready": True})
        threading.Thread(target=_watch, args=(lifeline, server), daemon=True).start()
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=server.serve, args=(connection,), daemon=True).start()


def _watch(lifeline: socket.socket, server: Server) -> None:
    """Ends this process when the parent's end of `lifeline` closes, or when one computation never comes back.

    Meanwhile it gives back the memory that is kept while nothing is asked.
    """
    lifeline.settimeout(5.0)
    try:
        while server.batcher.busy_seconds() < _STUCK_SECONDS:
            try:
                lifeline.recv(1)
                break
            except TimeoutError:
                server.give_back_when_idle(_IDLE_SECONDS)
    except BaseException:  # the device is lost, and so would be this watch
        traceback.print_exc()
        os._exit(70)
    os._exit(0)


if __name__ == "__main__":
    main()
