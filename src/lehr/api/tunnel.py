"""Two connections joined: a client's HTTP/2 one and one to the gRPC server's local socket.

Whoever writes faster than the other side reads is paused, so that at most a few buffers are held for any client.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any


class _Pipe(asyncio.Protocol):
    """One end: what comes in here goes out at the other end."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.other: _Pipe | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert self.other is not None
        self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None:
            self.other.transport.close()  # sends what is still buffered first


class Tunnel(_Pipe):
    """The client's end."""

    def __init__(self, grpc_socket: Path, connections: set[Any]) -> None:
        """`connections` is where the server keeps those that it closes when it stops."""
        super().__init__()
        self._grpc_socket = grpc_socket
        self._connections = connections
        self._early = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Reaches for the gRPC server; the client waits."""
        super().connection_made(transport)
        self._connections.add(self)
        self.transport.pause_reading()
        self._reaching = asyncio.get_running_loop().create_task(self._reach())

    async def _reach(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, inner = await loop.create_unix_connection(_Pipe, str(self._grpc_socket))
        except OSError:
            self.transport.abort()  # the gRPC server has stopped: clients take this as UNAVAILABLE and try again
            return
        inner.other, self.other = self, inner
        if self.transport.is_closing():
            inner.transport.abort()
            return
        inner.transport.write(bytes(self._early))
        self._early.clear()
        self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Passes bytes on; keeps those that were read before the gRPC server was reached."""
        if self.other is None:
            self._early += data
        else:
            self.other.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        """The client left."""
        self._connections.discard(self)
        super().connection_lost(error)

    def shutdown(self) -> None:
        """The server stops: the gRPC server has said goodbye to its clients already, or does so now by this."""
        self.transport.close()
