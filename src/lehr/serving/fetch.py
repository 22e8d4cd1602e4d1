"""Downloads what a stranger's URL names, without letting the stranger use our place in the network.

Each hop resolves its host once, is refused unless every address is public (`addresses`), and connects to an address so
checked: no second look-up can lead elsewhere. No proxy, no cookies, no credentials; bytes, time and hops are bounded.
"""

from __future__ import annotations

import http.client
import io
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from lehr.errors import DownloadFailed
from lehr.serving.addresses import AllowList, parsed

_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_PIECE_BYTES = 1 << 18
_HEADERS = {"User-Agent": "lehr", "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
_KEPT_IN_PATHS = "/%:=&?~+!$,;'@()*[]"


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What a URL gave."""

    data: bytes
    url: str
    """Where it came from in the end, after redirects."""
    content_type: str
    """As the server claims; empty when it does not. Never trusted for what the bytes are."""


@dataclass(frozen=True, kw_only=True)
class Fetcher:
    """Downloads within bounds; usable from many threads at once."""

    allow: Sequence[str] = ()
    """Hosts or networks (CIDR) that may be reached although they are not public."""
    max_bytes: int = 85 * 2**20
    """Longest body."""
    total_seconds: float = 60.0
    """For everything: look-ups, redirects, the body."""
    idle_seconds: float = 15.0
    """Longest silence of a server."""

    def __post_init__(self) -> None:
        _ = self.allowed  # read now, not at the first download

    def fetch(self, url: str) -> Fetched:
        """The body behind `url`. Raises DownloadFailed with a sentence that names the URL and the reason."""
        collected = bytearray()
        found = self.fetch_pieces(url, collected.extend)
        return Fetched(data=bytes(collected), url=found.url, content_type=found.content_type)

    def fetch_pieces(self, url: str, take: Callable[[bytes], object]) -> Fetched:
        """As `fetch`, for what is too long to be held: `take` gets it piece by piece, and `data` is empty."""
        deadline = time.monotonic() + self.total_seconds
        here = url
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                with _Hop(self, here, deadline) as hop:
                    if hop.next_url is None:
                        for piece in hop.pieces():
                            take(piece)
                        return Fetched(data=b"", url=here, content_type=hop.header("Content-Type"))
                    here = hop.next_url
        except _Failed as failure:
            raise DownloadFailed(f"{_shown(url)} could not be downloaded: {failure}") from failure
        raise DownloadFailed(f"{_shown(url)} could not be downloaded: it redirects more than {_MAX_REDIRECTS} times.")

    @cached_property
    def allowed(self) -> AllowList:
        """`allow`, read. Raises InvalidRequest for an entry that makes no sense."""
        return AllowList(self.allow)

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """Verifies servers against the system's certificate authorities."""
        return ssl.create_default_context()


class _Failed(Exception):
    """The rest of the sentence: why it could not be downloaded."""


class _Hop:
    """One request and its answer, on a connection of its own."""

    def __init__(self, fetcher: Fetcher, url: str, deadline: float) -> None:
        self._fetcher = fetcher
        self._deadline = deadline
        self._url = url
        self._parts = _checked(url)
        self._sock: socket.socket | None = None
        self._response: http.client.HTTPResponse | None = None

    def __enter__(self) -> _Hop:
        try:
            self._request()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self._response:
            self._response.close()
        if self._sock:
            self._sock.close()

    @property
    def next_url(self) -> str | None:
        """Where a redirect leads; None when this is the answer. Raises _Failed for any other status."""
        assert self._response
        status = self._response.status
        if status == 200:
            return None
        if status not in _REDIRECTS:
            raise _Failed(f"the server answered {status} {self._response.reason[:60]}.")
        if not (location := self.header("Location")):
            raise _Failed(f"the server answered {status} without saying where to.")
        return urljoin(self._url, location)

    def header(self, name: str) -> str:
        """A header of the answer, empty when it has none of that name."""
        assert self._response
        return self._response.headers.get(name, "")

    def pieces(self) -> Iterator[bytes]:
        """All of the body, and no more than the fetcher takes."""
        assert self._response
        if self.header("Content-Encoding").lower() not in ("", "identity"):
            raise _Failed(f"it came compressed as {self.header('Content-Encoding')!r}, though asked for as it is.")
        if (self._response.length or 0) > self._fetcher.max_bytes:
            raise _Failed(self._too_long())
        num_bytes, declared = 0, self._response.length
        while piece := self._read(self._response):
            num_bytes += len(piece)
            if num_bytes > self._fetcher.max_bytes:
                raise _Failed(self._too_long())
            yield piece
        if declared is not None and num_bytes < declared:
            raise _Failed(f"the connection ended after {num_bytes:,} of {declared:,} bytes.")

    @property
    def _port(self) -> int:
        return self._parts.port or (443 if self._parts.scheme == "https" else 80)

    def _request(self) -> None:
        """Connects to a checked address and sends the request. The name stays in TLS and in the Host header."""
        path = quote(self._parts.path or "/", safe=_KEPT_IN_PATHS)
        target = f"{path}?{quote(self._parts.query, safe=_KEPT_IN_PATHS)}" if self._parts.query else path
        try:
            connection = http.client.HTTPConnection(self._parts.hostname or "", self._port)
            self._sock = self._connected()
            connection.sock = _TimedSocket(self._sock, self._fetcher.idle_seconds, self._deadline)
            connection.request("GET", target, headers=_HEADERS | {"Host": host_header(self._parts)})
            self._response = connection.getresponse()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._failed(error) from error

    def _connected(self) -> socket.socket:
        """A socket to the first address that answers; over TLS for https."""
        sock = self._first_answering(self._addresses())
        if self._parts.scheme == "http":
            return sock
        sock.settimeout(self._patience())
        try:
            return self._fetcher.tls.wrap_socket(sock, server_hostname=self._parts.hostname)
        except BaseException:
            sock.close()
            raise

    def _first_answering(self, addresses: Sequence[str]) -> socket.socket:
        reason = OSError("the name has no address")
        for address in addresses:
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
            try:
                sock.settimeout(self._patience())
                sock.connect((address, self._port))
                return sock
            except OSError as error:
                sock.close()
                reason = error
        raise reason

    def _addresses(self) -> list[str]:
        """Of the host, resolved here and now, all of them fit to be reached."""
        host = self._parts.hostname or ""
        found = resolve(host, self._port, self._patience())
        allowed = self._fetcher.allowed
        if not allowed.has_host(host) and not all(allowed.may_reach(parsed(address)) for address in found):
            raise _Failed(
                f"{host} is not a public address. The operator can allow a host or a network with LEHR_FETCH_ALLOW."
            )
        return found

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read1(_PIECE_BYTES)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._failed(error) from error

    def _patience(self) -> float:
        """How long the next step may take."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return min(left, self._fetcher.idle_seconds)

    def _failed(self, error: Exception) -> _Failed:
        if isinstance(error, TimeoutError):
            if time.monotonic() >= self._deadline:
                return _Failed(f"it took longer than {self._fetcher.total_seconds:g} seconds.")
            return _Failed(f"the server was silent for {self._fetcher.idle_seconds:g} seconds.")
        if isinstance(error, ssl.SSLError):
            return _Failed(f"its TLS certificate or connection is not in order ({error.reason or error}).")
        if isinstance(error, socket.gaierror):
            return _Failed(f"the host {self._parts.hostname} is not known.")
        if isinstance(error, ConnectionRefusedError):
            return _Failed(f"nothing answers at {self._parts.hostname}, port {self._port}.")
        return _Failed(f"the connection failed ({type(error).__name__}: {error}).")

    def _too_long(self) -> str:
        return f"it is longer than the {self._fetcher.max_bytes:,} bytes that are accepted."


def resolve(host: str, port: int, timeout: float) -> list[str]:
    """Addresses of `host`, in the resolver's order. Raises TimeoutError after `timeout` seconds, or OSError."""
    answers: queue.Queue[list[str] | Exception] = queue.Queue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put(list(dict.fromkeys(str(address[0]) for *_, address in found)))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=ask, name="resolver", daemon=True).start()  # the system's resolver knows no time limit
    try:
        answer = answers.get(timeout=timeout)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise answer
    return answer


class _TimedSocket:
    """As much of a socket as http.client uses, with every step bounded by the idle time and by the deadline."""

    def __init__(self, sock: socket.socket, idle_seconds: float, deadline: float) -> None:
        self._sock = sock
        self._idle_seconds = idle_seconds
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._arm()
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self))

    def recv_into(self, buffer: memoryview) -> int:
        self._arm()
        return self._sock.recv_into(buffer)

    def close(self) -> None:
        """Nothing: http.client lets go of the connection before the answer has been read. The hop closes it."""

    def _arm(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(min(left, self._idle_seconds))


class _TimedReader(io.RawIOBase):
    """The reading side of a `_TimedSocket`."""

    def __init__(self, sock: _TimedSocket) -> None:
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._sock.recv_into(buffer)


def host_header(parts: SplitResult) -> str:
    """The host as browsers write it: a default port is left out, since signed URLs count on that very text."""
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host.encode("ascii" if host.isascii() else "idna").decode()
    is_default = parts.port in (None, {"http": 80, "https": 443}[parts.scheme])
    return host if is_default else f"{host}:{parts.port}"


def _checked(url: str) -> SplitResult:
    """The URL's parts. Raises _Failed for anything but http(s) with a host and without credentials."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # reading it checks it
    except ValueError as error:
        raise _Failed(f"it is no valid URL ({error}).") from error
    if parts.scheme not in ("http", "https"):
        raise _Failed(f"only http and https are fetched, not {parts.scheme or 'a URL without a scheme'}.")
    if not parts.hostname:
        raise _Failed("it names no host.")
    if parts.username is not None or parts.password is not None:
        raise _Failed("it carries a user name or password, which are not sent. Use a signed URL, or upload the bytes.")
    return parts


def _shown(url: str) -> str:
    """The URL for a sentence: without its query and credentials, which may be secrets, and not endless."""
    bare = url.partition("?")[0]
    scheme, separator, rest = bare.partition("://")
    host, slash, path = rest.partition("/")
    text = f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"
    return text if len(text) <= 200 else f"{text[:200]}…"
