"""The one port: looks at the first bytes of a connection and gives it to the gRPC server or to HTTP/1.1.

An HTTP/2 connection begins with a fixed preface, with or without TLS; it is passed on, byte by byte, to the gRPC
server's local socket. Anything else becomes an HTTP/1.1 connection in place: no second socket, no copy. Looks into no
byte beyond the preface.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lehr.api.tunnel import Tunnel
from lehr.errors import CannotListen

log = logging.getLogger("lehr.front")

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_GRACE_SECONDS = 10
_BACKLOG = 2048
_MAX_HEAD_BYTES = 256 * 1024
"""Request line and headers together."""

Action = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a client may do nothing."""

    idle_seconds: float = 30
    """From connecting to the end of the first request's headers."""
    stalled_seconds: float = 120
    """Taking nothing of an answer that waits for it."""
    look_seconds: float = 5
    """Between two looks for such clients; a second at least."""


class Front:
    """Listens on one address and serves gRPC and an ASGI application there."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        app: Any,
        grpc_socket: Path,
        tls: tuple[Path, Path] | None = None,
        patience: Patience | None = None,
    ) -> None:
        """Binds the port (0: any free one). `tls` is certificate chain and key, both PEM. Raises CannotListen."""
        self._patience = patience or Patience()
        self._sweep = _Sweep(self._patience.stalled_seconds)
        self._server = _Server(self._config(app, grpc_socket, tls))
        self._listener = _bound(host, port)
        self.port: int = self._listener.getsockname()[1]
        self._thread: threading.Thread | None = None

    def _config(self, app: Any, grpc_socket: Path, tls: tuple[Path, Path] | None) -> uvicorn.Config:
        def doorstep(**parts: Any) -> Doorstep:
            return Doorstep(parts=parts, grpc_socket=grpc_socket, idle_seconds=self._patience.idle_seconds)

        config = uvicorn.Config(
            app,
            http=doorstep,  # type: ignore[arg-type]
            loop="asyncio",
            ws="websockets-sansio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,  # longer than clients keep theirs: the client closes first, and no request is lost
            timeout_graceful_shutdown=_GRACE_SECONDS,
            callback_notify=self._on_tick,
            timeout_notify=self._patience.look_seconds,  # type: ignore[arg-type]
        )
        config.load()
        config.ssl = _tls_context(*tls) if tls else None
        return config

    def run(self, *, when_ready: Action | None = None, when_stopping: Action | None = None) -> None:
        """Serves until SIGINT or SIGTERM, or until `stop` from another thread.

        `when_ready` is called once connections are accepted. `when_stopping` is called, in a thread, when no new ones
        are any more and before open ones are closed: stop the gRPC server there, so that its calls can end well.
        """
        self._server.when_ready, self._server.when_stopping = when_ready, when_stopping
        self._server.run(sockets=[self._listener])

    def start(self, *, when_stopping: Action | None = None) -> None:
        """Serves in a thread; returns once connections are accepted."""
        options = {"when_stopping": when_stopping}
        self._thread = threading.Thread(target=self.run, kwargs=options, name="front", daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.005)

    @property
    def connections(self) -> set[Any]:
        """The open ones, as the protocols that hold them."""
        return self._server.server_state.connections

    def stop(self) -> None:
        """Ends: no new connections, answers under way are finished for up to 10 s."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()

    async def _on_tick(self) -> None:
        self._sweep.drop_stalled(self.connections)


class _Server(uvicorn.Server):
    """uvicorn's, telling when it is ready."""

    when_ready: Action | None = None
    when_stopping: Action | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ends on the signals, without raising them again afterwards: whoever called `run` has work left to end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, former in before.items():
                signal.signal(number, former)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.when_ready is not None:
            self.when_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        if self.when_stopping is not None:
            await asyncio.to_thread(self.when_stopping)
        await super().shutdown(sockets)


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotListen(_why_not(host, port, error)) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotListen(_why_not(host, port, error)) from error
    return listener


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is in use by another program; stop that one, or choose another port with --port "
            "or LEHR_PORT"
        )
    if error.errno == errno.EACCES:
        return f"port {port} may only be used by root; choose one above 1023 with --port or LEHR_PORT"
    return f"cannot listen on {host}:{port}: {error.strerror or error}; check --host and --port"


def _tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise CannotListen(f"the TLS certificate {certificate} with key {key} cannot be used: {error}") from error
    # Our order decides. gRPC clients offer h2 alone; curl and browsers offer both, and would speak REST over HTTP/2.
    context.set_alpn_protocols(["http/1.1", "h2"])
    return context


class Doorstep(asyncio.Protocol):
    """A connection whose first bytes have not come yet."""

    def __init__(self, *, parts: dict[str, Any], grpc_socket: Path, idle_seconds: float) -> None:
        """`parts` are what uvicorn gives its HTTP protocol."""
        self._parts = parts
        self._grpc_socket = grpc_socket
        self._idle_seconds = idle_seconds
        self._connections: set[Any] = parts["server_state"].connections
        self._first = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Starts the clock for the first bytes."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._connections.add(self)
        _keep_alive(transport.get_extra_info("socket"))
        self._timer = asyncio.get_running_loop().call_later(self._idle_seconds, transport.abort)

    def connection_lost(self, error: Exception | None) -> None:
        """The client left before it said anything."""
        self._timer.cancel()
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Hands the connection over as soon as it is clear to whom."""
        self._first += data
        if self._first.startswith(PREFACE):
            self._hand_over(Tunnel(self._grpc_socket, self._connections))
        elif not PREFACE.startswith(self._first):
            self._hand_over(_Http(self._idle_seconds, **self._parts))

    def shutdown(self) -> None:
        """The server stops; nothing was asked here."""
        self.transport.close()

    def _hand_over(self, protocol: Any) -> None:
        self._timer.cancel()
        self._connections.discard(self)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        protocol.data_received(self._first)
        self._first = b""


class _Http(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, with an end to heads that never end: in time, and in bytes."""

    def __init__(self, idle_seconds: float, **parts: Any) -> None:
        super().__init__(**parts)
        self._idle_seconds = idle_seconds
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._head_begins()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_begins()

    def on_headers_complete(self) -> None:
        self._head_is_over()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES:
                self._hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_over()
        super().connection_lost(exc)

    def _head_begins(self) -> None:
        self._head_is_over()
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(self._idle_seconds, self._hang_up)

    def _head_is_over(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _hang_up(self) -> None:
        self._head_is_over()
        self.transport.abort()


def _keep_alive(connection: socket.socket | None) -> None:
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _Sweep:
    """Finds connections whose client takes nothing of what waits for it."""

    def __init__(self, stalled_seconds: float) -> None:
        self._stalled_seconds = stalled_seconds
        self._waiting: dict[Any, tuple[int, float]] = {}

    def drop_stalled(self, connections: set[Any]) -> None:
        now = time.monotonic()
        seen = {}
        for connection in list(connections):
            size = connection.transport.get_write_buffer_size()
            if not size:
                continue
            before = self._waiting.get(connection)
            seen[connection] = before if before and before[0] == size else (size, now)
            if now - seen[connection][1] > self._stalled_seconds:
                log.warning("a client took nothing for %.0f s and was dropped", self._stalled_seconds)
                connection.transport.abort()
        self._waiting = seen
