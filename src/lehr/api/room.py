"""How many bytes of requests may be held at once, over both faces.

A request takes room for its body before it is read (REST) or before it is unpacked (gRPC) and gives it back when
answered. One request is always let in, however large, so that nothing waits for ever.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lehr.errors import Busy
from lehr.protocol import status_code_pb2

GIB = 1024**3
MAX_MESSAGE_BYTES = GIB
"""The largest request or answer, as the public clients have it."""
_LOOK_AGAIN_SECONDS = 0.02


def default_room_bytes() -> int:
    """An eighth of the machine's memory, at least 1 GiB: a message is held about three times over for a moment."""
    return max(GIB, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 8)


class Room:
    """A budget of bytes, used by threads and by the event loop alike."""

    def __init__(self, capacity: int | None = None, *, wait_seconds: float = 60) -> None:
        self.capacity = capacity or default_room_bytes()
        self._wait_seconds = wait_seconds
        self._held = 0
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Bytes taken now."""
        return self._held

    def try_take(self, size: int) -> bool:
        """Takes the bytes if they fit, or if nothing else is held."""
        with self._lock:
            fits = self._held == 0 or self._held + size <= self.capacity
            if fits:
                self._held += size
            return fits

    def give_back(self, size: int) -> None:
        """Returns bytes taken."""
        with self._lock:
            self._held -= size
            assert self._held >= 0, "more bytes given back than taken"

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Holds the bytes inside the block; waits for them in this thread. Raises Busy when the wait is over."""
        deadline = time.monotonic() + self._wait_seconds
        while not self.try_take(size):
            self._check_wait(deadline, size)
            time.sleep(_LOOK_AGAIN_SECONDS)
        try:
            yield
        finally:
            self.give_back(size)

    async def take(self, size: int) -> None:
        """The same in the event loop, without the giving back. Raises Busy when the wait is over."""
        deadline = time.monotonic() + self._wait_seconds
        while not self.try_take(size):
            self._check_wait(deadline, size)
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    def _check_wait(self, deadline: float, size: int) -> None:
        if time.monotonic() > deadline:
            raise Busy(
                f"the server holds {self._held >> 20} MiB of other requests and has no room for {size >> 20} MiB more; "
                "send this request again later, or send fewer or smaller ones at once",
                code=status_code_pb2.RPC_REQUEST_QUEUE_FULL,
            )
