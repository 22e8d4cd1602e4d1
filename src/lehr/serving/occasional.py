"""A predictor process for work that comes and goes: started when needed, ended when nobody has needed it lately."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lehr.errors import Busy
from lehr.serving.predictors import Predictors

IDLE_SECONDS = 120.0
PATIENCE_SECONDS = 180.0
"""Longest wait for a process to start and a model to load."""
_PAUSE_SECONDS = 0.1


class Occasional:
    """Safe to use from many threads."""

    def __init__(self, make: Callable[[], Predictors], *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._make = make
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._predictors: Predictors | None = None
        self._num_users = 0
        self._ending: threading.Timer | None = None

    @contextmanager
    def lent(self) -> Iterator[Callable[[Path, Sequence[np.ndarray]], np.ndarray]]:
        """Outputs of the model in a folder for pictures, as `Predictors.predict`, but patient while it starts."""
        predictors = self._taken()
        try:
            yield lambda bundle, pixels: _patiently(predictors, bundle, pixels)
        finally:
            self._given_back()

    def _taken(self) -> Predictors:
        with self._lock:
            self._num_users += 1
            if self._ending:
                self._ending.cancel()
            if self._predictors is None:
                self._predictors = self._make()
                self._predictors.start()
            return self._predictors

    def _given_back(self) -> None:
        with self._lock:
            self._num_users -= 1
            if not self._num_users:
                self._ending = threading.Timer(self._idle_seconds, self.close)
                self._ending.daemon = True
                self._ending.start()

    def close(self) -> None:
        """Ends the process, unless somebody is using it."""
        with self._lock:
            if self._num_users or self._predictors is None:
                return
            predictors, self._predictors = self._predictors, None
        predictors.close()


def _patiently(predictors: Predictors, bundle: Path, pixels: Sequence[np.ndarray]) -> np.ndarray:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return predictors.predict(bundle, pixels)
        except Busy:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)
