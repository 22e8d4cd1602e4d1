"""Memory that two of our processes look at: pictures are laid there by one and read there by the other.

Through a socket each picture would be copied twice more, which costs a re-index some percent of its speed.
"""

from __future__ import annotations

import mmap
import os
import socket
from collections.abc import Sequence

import numpy as np

from lehr.serving.wire import HangUpError

KEPT_BYTES = 8 << 20
"""A larger window is given up after its request: each connection that waits for the next keeps one."""
_STEP_BYTES = 1 << 20


def is_possible() -> bool:
    """Whether this system can share memory so; Linux can."""
    return hasattr(os, "memfd_create")


class Window:
    """The side that lays pictures. For one request at a time."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("lehr-window")
        self._bytes = np.zeros(0, np.uint8)

    def lay(self, pictures: Sequence[np.ndarray]) -> bool:
        """Lays them one after another, in place of earlier ones; whether the other side must be shown the window."""
        size = sum(picture.nbytes for picture in pictures)
        has_grown = size > len(self._bytes)
        if has_grown:
            os.ftruncate(self._fd, -(-size // _STEP_BYTES) * _STEP_BYTES)
            self._bytes = _mapped(self._fd, mmap.PROT_READ | mmap.PROT_WRITE)
        start = 0
        for picture in pictures:
            end = start + picture.nbytes
            self._bytes[start:end].reshape(picture.shape)[...] = picture
            start = end
        return has_grown

    def show(self, sock: socket.socket) -> None:
        """To whoever calls `seen` at the other end. Raises OSError."""
        socket.send_fds(sock, [b"."], [self._fd])

    @property
    def is_kept(self) -> bool:
        """Whether it is small enough for the next request too."""
        return len(self._bytes) <= KEPT_BYTES

    def close(self) -> None:
        """What was shown stays readable."""
        os.close(self._fd)


def seen(sock: socket.socket) -> np.ndarray:
    """The window that the other end shows: uint8 [n], read-only. Raises HangUpError."""
    _, descriptors, _, _ = socket.recv_fds(sock, 1, 1)
    if len(descriptors) != 1:
        raise HangUpError("a window was announced and not shown")
    try:
        return _mapped(descriptors[0], mmap.PROT_READ)
    finally:
        os.close(descriptors[0])


def _mapped(descriptor: int, access: int) -> np.ndarray:
    """Unmapped when no array looks at it any more."""
    return np.frombuffer(mmap.mmap(descriptor, os.fstat(descriptor).st_size, prot=access), np.uint8)
