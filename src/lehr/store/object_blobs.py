"""Blobs in an object store: S3 and what speaks like it, Google's, Azure's. An object appears whole or not at all."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import obstore
from obstore.store import from_url

from lehr.errors import NotFound
from lehr.store.blobs import CHUNK, checked_sha

__all__ = ["ObjectBlobs"]

FRESH_SECONDS = 600.0
"""An object younger than this is not written again by a `put`: a sweep spares it for an hour anyway."""
UPLOADS_AT_ONCE = 16


class ObjectBlobs:
    """Objects under a URL such as `s3://bucket/prefix`.

    Credentials and region come from the environment, as for the provider's own tools. Settings of obstore may follow
    as a query: `s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=us-east-1`.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        options: dict[str, Any] = dict(parse_qsl(parts.query))
        client = {"allow_http": True} if options.get("endpoint", "").startswith("http://") else {}
        bare = urlunsplit(parts._replace(query=""))
        self._store = from_url(bare, config=options, client_options=client)  # type: ignore[call-overload]

    def put(self, data: bytes | BinaryIO) -> str:
        """Stores the bytes, or the rest of an open file, which passes through a temporary file to be named."""
        if isinstance(data, bytes | bytearray | memoryview):
            return self._put_named(hashlib.sha256(data).hexdigest(), bytes(data))
        digest = hashlib.sha256()
        with tempfile.TemporaryFile() as file:
            while chunk := data.read(CHUNK):
                digest.update(chunk)
                file.write(chunk)
            file.seek(0)
            return self._put_named(digest.hexdigest(), file)

    def _put_named(self, sha: str, data: Any) -> str:
        age = self._age(sha)
        if age is None or age > FRESH_SECONDS:
            obstore.put(self._store, _key(sha), data)
        return sha

    def put_many(self, blobs: Sequence[bytes]) -> list[str]:
        """As `put` for each, several at once."""
        with ThreadPoolExecutor(UPLOADS_AT_ONCE) as pool:
            return list(pool.map(self.put, blobs))

    def open(self, sha: str) -> BinaryIO:
        """The blob as a seekable file that fetches what is read."""
        self.size(sha)
        return io.BufferedReader(_RawReader(obstore.open_reader(self._store, _key(sha), buffer_size=CHUNK)), CHUNK)

    def read(self, sha: str) -> bytes:
        """The whole blob."""
        try:
            return bytes(obstore.get(self._store, _key(sha)).bytes())
        except FileNotFoundError as error:
            raise _missing(sha) from error

    def size(self, sha: str) -> int:
        """Its size in bytes."""
        head = self._head(sha)
        if head is None:
            raise _missing(sha)
        return int(head["size"])

    def exists(self, sha: str) -> bool:
        """Whether it is there."""
        return self._head(sha) is not None

    def _head(self, sha: str) -> Any:
        try:
            return obstore.head(self._store, _key(sha))
        except FileNotFoundError:
            return None

    def _age(self, sha: str) -> float | None:
        """Seconds since it was written, by the two clocks' agreement; None if it is not there."""
        head = self._head(sha)
        return None if head is None else (datetime.now(UTC) - head["last_modified"]).total_seconds()

    def delete(self, sha: str, *, unless_put_within: float = 0) -> bool:
        """Removes it, unless it was put within so many seconds."""
        age = self._age(sha)
        if age is None or age < unless_put_within:
            return False
        obstore.delete(self._store, _key(sha))
        return True

    def local_path(self, sha: str) -> Path | None:
        """None: objects are no files here."""
        self.size(sha)
        return None

    def list(self) -> Iterator[str]:
        """The names of all blobs."""
        for page in obstore.list(self._store):
            yield from (entry["path"].rpartition("/")[2] for entry in page)


class _RawReader(io.RawIOBase):
    """An object as Python's raw file, for BufferedReader."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = memoryview(self._reader.read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        return int(self._reader.tell())


def _key(sha: str) -> str:
    return f"{checked_sha(sha)[:2]}/{sha}"


def _missing(sha: str) -> NotFound:
    return NotFound(f"blob {sha} is not in the store; if rows name it, restore it from a backup")
