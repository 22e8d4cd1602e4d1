"""Messages between our own processes: a JSON header and raw bytes on a stream socket. Nothing is pickled.

On the wire: length of the header (uint32), length of the payload (uint64), both little-endian; header; payload.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

import numpy as np

from lehr import errors

MAX_HEADER_BYTES = 1 << 20
_PREFIX = struct.Struct("<IQ")


class HangUpError(ConnectionError):
    """The other side is gone, or says what none of ours would say."""


Part = bytes | np.ndarray


def send(sock: socket.socket, header: dict[str, Any], *parts: Part, deadline: float | None = None) -> None:
    """Sends `parts` as one payload. `deadline` is on the monotonic clock. Raises HangUpError or TimeoutError."""
    views = [_view(part) for part in parts]
    text = json.dumps(header).encode()
    try:
        _wait_until(sock, deadline)
        sock.sendall(_PREFIX.pack(len(text), sum(view.nbytes for view in views)) + text)
        for view in views:
            if view.nbytes:
                _wait_until(sock, deadline)
                sock.sendall(view.cast("B"))
    except ConnectionError as error:
        raise HangUpError("the other side closed the connection") from error


def receive(sock: socket.socket, *, max_bytes: int, deadline: float | None = None) -> tuple[dict[str, Any], np.ndarray]:
    """The next header and its payload (uint8 [n], n <= max_bytes). Raises HangUpError or TimeoutError."""
    header_size, size = _PREFIX.unpack(_exactly(sock, _PREFIX.size, deadline).data)
    if header_size > MAX_HEADER_BYTES or size > max_bytes:
        raise HangUpError(f"a message of {header_size} + {size} bytes, where at most {max_bytes} were expected")
    header = _parsed(_exactly(sock, header_size, deadline).tobytes())
    return header, _exactly(sock, size, deadline)


def described(error: errors.LehrError) -> dict[str, Any]:
    """An error as a header, for `raise_described` on the other side."""
    return {"error": type(error).__name__, "details": error.details, "code": error.code}


def raise_described(header: dict[str, Any]) -> None:
    """Raises the error that `header` describes, if it describes one."""
    if "error" not in header:
        return
    found = getattr(errors, str(header["error"]), None)
    kind = found if isinstance(found, type) and issubclass(found, errors.LehrError) else errors.LehrError
    error = kind.__new__(kind)
    errors.LehrError.__init__(error, str(header["details"]), code=int(header["code"]))
    raise error


def _view(part: Part) -> memoryview:
    return np.ascontiguousarray(part).data if isinstance(part, np.ndarray) else memoryview(part)


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except ValueError as error:
        raise HangUpError("a message whose header is no JSON") from error
    if not isinstance(header, dict):
        raise HangUpError("a message whose header is no object")
    return header


def _exactly(sock: socket.socket, size: int, deadline: float | None) -> np.ndarray:
    """uint8 [size], read straight into its own memory."""
    buffer = np.empty(size, np.uint8)
    rest = buffer.data
    while rest:
        _wait_until(sock, deadline)
        try:
            count = sock.recv_into(rest)
        except ConnectionError as error:
            raise HangUpError("the connection broke") from error
        if count == 0:
            raise HangUpError("the other side closed the connection")
        rest = rest[count:]
    return buffer


def _wait_until(sock: socket.socket, deadline: float | None) -> None:
    """Lets the next operation on `sock` block until `deadline` at most. Raises TimeoutError when it has passed."""
    if deadline is None:
        return
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline has passed")
    sock.settimeout(left)
