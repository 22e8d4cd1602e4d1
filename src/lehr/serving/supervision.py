"""A child process that is started again whenever it ends."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from lehr.serving import wire
from lehr.serving.children import Child, start_child

_START_SECONDS = 300.0
_GOOD_LIFE_SECONDS = 60.0
_log = logging.getLogger(__name__)


class Supervised:
    """Keeps `python -m module arguments…` running, from a thread that lives as long as the child may."""

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        self._module = module
        self._arguments = tuple(arguments)
        self._child: Child | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"supervisor of {module}", daemon=True)
        self.num_starts = 0
        """How often it was started by now: a connection belongs to one start."""
        self.is_ready = False
        """It has said that it serves, and has not ended since."""

    def start(self) -> None:
        """Starts in the background."""
        self._thread.start()

    def process_id(self) -> int | None:
        """Of the process as it runs now."""
        child = self._child
        return child.process.pid if child else None

    def kill(self) -> None:
        """Ends the process at once; a new one follows, unless `close` was called."""
        if child := self._child:
            child.process.kill()

    def close(self) -> None:
        """Ends the process for good."""
        self._closing.set()
        self.kill()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        failures = 0
        while not self._closing.is_set():
            started = time.monotonic()
            code = self._run_once()
            failures = 1 if time.monotonic() - started > _GOOD_LIFE_SECONDS else failures + 1
            if not self._closing.is_set():
                pause = pause_seconds(failures)
                _log.warning("%s ended with code %s; starting it again in %.1f s", self._module, code, pause)
                self._closing.wait(pause)

    def _run_once(self) -> int | None:
        """From start to end of one process. Returns its exit code, None when it could not even be started."""
        try:
            self._child = child = start_child(self._module, self._arguments)
        except OSError:
            _log.exception("%s could not be started", self._module)
            return None
        self.num_starts += 1
        if not self._closing.is_set():
            self._serve(child)
        self._child = None
        return child.kill()

    def _serve(self, child: Child) -> None:
        """Until the process ends, or hangs before it is ready."""
        try:
            wire.receive(child.sock, max_bytes=0, deadline=time.monotonic() + _START_SECONDS)
            self.is_ready = True
            child.process.wait()
        except OSError:
            return
        finally:
            self.is_ready = False


def pause_seconds(failures: int) -> float:
    """Before the next start, after so many short lives in a row: 0.1 s, doubling up to 30 s."""
    return float(min(30.0, 0.1 * 2 ** min(failures - 1, 10)))
