"""Bytes by content: a blob's name is the SHA-256 of what is in it, so it never changes and is stored once.

`LocalBlobs` keeps files, and acknowledges one only when it and its folder are on the disk. What is in use is not known
here: `lehr.store.sweep` finds out.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from lehr.errors import NotFound, StoreUnusable

__all__ = ["Blobs", "LocalBlobs", "checked_sha", "open_blobs"]

CHUNK = 1 << 20
SHELVES = 256
SYNCS_AT_ONCE = 4  # the file system commits together what waits together: 128 blobs of 20 kB in 0.08 s instead of 0.9 s


class Blobs(Protocol):
    """A place for bytes. Safe for any number of threads and processes at once."""

    def put(self, data: bytes | BinaryIO) -> str:
        """Stores the bytes, or the rest of an open file; answers their SHA-256 once they are safe."""

    def put_many(self, blobs: Sequence[bytes]) -> list[str]:
        """As `put` for each, in order, but faster for many small ones."""

    def open(self, sha: str) -> BinaryIO:
        """The blob as a seekable file. Raises NotFound."""

    def read(self, sha: str) -> bytes:
        """The whole blob. Raises NotFound."""

    def size(self, sha: str) -> int:
        """Its size in bytes. Raises NotFound."""

    def exists(self, sha: str) -> bool:
        """Whether it is there."""

    def delete(self, sha: str, *, unless_put_within: float = 0) -> bool:
        """Removes it, unless it was put (also: put again) within so many seconds; answers whether it went."""

    def local_path(self, sha: str) -> Path | None:
        """Its file on this machine, to be read only; None where blobs are not files. Raises NotFound."""

    def list(self) -> Iterator[str]:
        """The names of all blobs."""


def open_blobs(url: str, home: Path) -> Blobs:
    """The store of a URL: `file:///FOLDER`, `s3://`, `gs://`, `az://`; empty: files in `home`. Raises StoreUnusable."""
    scheme = urlsplit(url).scheme
    if not url:
        return LocalBlobs(home / "blobs")
    if scheme == "file":
        return LocalBlobs(Path(unquote(urlsplit(url).path)))
    if scheme in ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss"):
        from lehr.store.object_blobs import ObjectBlobs

        return ObjectBlobs(url)
    raise StoreUnusable(
        f"blobs URL {url!r} is of no kind that Lehr stores in; use file:///FOLDER, s3://, gs:// or az://"
    )


def checked_sha(sha: str) -> str:
    """The name itself. Raises NotFound for what no blob can be called, so that no other string becomes a path."""
    if len(sha) == 64 and set(sha) <= set("0123456789abcdef"):
        return sha
    raise NotFound(f"no blob is called {sha[:80]!r}: a name is 64 hexadecimal digits")


class LocalBlobs:
    """Files in 256 folders. A blob is written under another name, synced, renamed, and its folder synced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._partial = folder / "partial"
        self._partial.mkdir(parents=True, exist_ok=True)
        shelves = [folder / f"{shelf:02x}" for shelf in range(SHELVES)]
        if not shelves[-1].exists():  # made one by one, each would cost an upload a wait for the disk
            for shelf in shelves:
                shelf.mkdir(exist_ok=True)
        _sync_folder(folder)

    def put(self, data: bytes | BinaryIO) -> str:
        """Stores the bytes, or the rest of an open file."""
        if isinstance(data, bytes | bytearray | memoryview):
            return self.put_many([bytes(data)])[0]
        sha, partial = self._copied(data)
        self._publish({sha: partial})
        _sync_folder(self._path(sha).parent)
        return sha

    def put_many(self, blobs: Sequence[bytes]) -> list[str]:
        """As `put` for each, with the waiting for the disk shared: a folder is synced once, when all are in place."""
        shas = [hashlib.sha256(blob).hexdigest() for blob in blobs]
        new = {sha: blob for sha, blob in dict(zip(shas, blobs, strict=True)).items() if not self._touched(sha)}
        partials = {sha: self._partial / secrets.token_hex(16) for sha in new}
        try:
            _write_all(dict(zip(partials.values(), new.values(), strict=True)))
            self._publish(partials)
        except BaseException:
            for partial in partials.values():
                partial.unlink(missing_ok=True)
            raise
        for shelf in dict.fromkeys(self._path(sha).parent for sha in shas):
            _sync_folder(shelf)  # of old blobs too: another process may have renamed one there a moment ago
        return shas

    def _copied(self, data: BinaryIO) -> tuple[str, Path]:
        """The rest of `data` in a synced file of a passing name, and its SHA-256."""
        digest = hashlib.sha256()
        partial = self._partial / secrets.token_hex(16)
        try:
            with open(partial, "xb", opener=_private) as file:
                while chunk := data.read(CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return digest.hexdigest(), partial

    def _publish(self, partials: Mapping[str, Path]) -> None:
        """Gives the files the names of their blobs; safe only when the folders are synced."""
        for sha, partial in partials.items():
            path = self._path(sha)
            if not path.parent.exists():
                path.parent.mkdir(exist_ok=True)
                _sync_folder(self._folder)
            with _locked(path.parent):
                partial.replace(path)

    def _touched(self, sha: str) -> bool:
        """Whether the blob is there, its age then made zero: whoever sweeps leaves it alone for a while."""
        path = self._path(sha)
        if not path.exists():
            return False
        with _locked(path.parent):
            try:
                os.utime(path)
            except FileNotFoundError:
                return False
        return True

    def _path(self, sha: str) -> Path:
        return self._folder / checked_sha(sha)[:2] / sha

    def open(self, sha: str) -> BinaryIO:
        """The blob as a seekable file."""
        try:
            return self._path(sha).open("rb")
        except FileNotFoundError as error:
            raise _missing(sha) from error

    def read(self, sha: str) -> bytes:
        """The whole blob."""
        with self.open(sha) as file:
            return file.read()

    def size(self, sha: str) -> int:
        """Its size in bytes."""
        try:
            return self._path(sha).stat().st_size
        except FileNotFoundError as error:
            raise _missing(sha) from error

    def exists(self, sha: str) -> bool:
        """Whether it is there."""
        return self._path(sha).exists()

    def delete(self, sha: str, *, unless_put_within: float = 0) -> bool:
        """Removes it, unless it was put within so many seconds."""
        path = self._path(sha)
        if not path.exists():
            return False
        with _locked(path.parent):
            try:
                if unless_put_within and time.time() - path.stat().st_mtime < unless_put_within:
                    return False
                path.unlink()
            except FileNotFoundError:
                return False
        return True

    def local_path(self, sha: str) -> Path | None:
        """Its file, to be read only."""
        path = self._path(sha)
        if not path.exists():
            raise _missing(sha)
        return path

    def list(self) -> Iterator[str]:
        """The names of all blobs."""
        for shelf in sorted(self._folder.iterdir()):
            if shelf != self._partial and shelf.is_dir():
                yield from sorted(entry.name for entry in os.scandir(shelf))

    def clear_partial(self, older_than_seconds: float) -> int:
        """Removes what interrupted writes left behind; answers how many."""
        before = time.time() - older_than_seconds
        old = [entry for entry in os.scandir(self._partial) if entry.stat().st_mtime < before]
        for entry in old:
            Path(entry.path).unlink(missing_ok=True)
        return len(old)


def _write_all(blobs: Mapping[Path, bytes]) -> None:
    """Each into a synced file of its own."""
    if len(blobs) < 2:
        for path, blob in blobs.items():
            _write(path, blob)
        return
    with ThreadPoolExecutor(SYNCS_AT_ONCE) as pool:
        for written in [pool.submit(_write, path, blob) for path, blob in blobs.items()]:
            written.result()


def _write(path: Path, blob: bytes) -> None:
    with open(path, "xb", buffering=0, opener=_private) as file:
        left = memoryview(blob)
        while left:
            left = left[file.write(left) :]
        os.fsync(file.fileno())


def _private(path: str, flags: int) -> int:
    """Opens for the owner alone: a blob store may lie outside the home."""
    return os.open(path, flags, 0o600)


def _missing(sha: str) -> NotFound:
    return NotFound(f"blob {sha} is not in the store; if rows name it, restore it from a backup")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Alone in the folder, among all threads and processes of this machine: a put and a delete must not cross."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
