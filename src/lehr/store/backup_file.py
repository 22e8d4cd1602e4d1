"""Everything of a store in one file, and a store made of such a file: rows, and the blobs that rows name.

The file is a plain tar: `lehr-backup.json`, `blobs/SHA-256` of each blob, and `lehr.db` last. Rows are copied first and
blobs after them, so whatever a row names is there, unless it was deleted meanwhile. PostgreSQL has its own tool.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sqlalchemy import select

from lehr.errors import NotFound, StoreUnusable
from lehr.store.backup import backup
from lehr.store.blobs import Blobs
from lehr.store.db import Database
from lehr.store.sweep import NAMED_BY
from lehr.store.tables import REVISION

__all__ = ["Summary", "restore", "write"]

FORMAT = 1
_ABOUT, _ROWS, _BLOBS = "lehr-backup.json", "lehr.db", "blobs/"
_MAX_ABOUT_BYTES = 1 << 16
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a backup holds."""

    num_blobs: int
    num_bytes: int
    num_gone: int = 0
    """Blobs that were named when it began and deleted before they were copied."""


# -- writing -----------------------------------------------------------------------------------------------------------


def write(db: Database, blobs: Blobs, target: Path) -> Summary:
    """Writes the file while the store lives on; it bears its name when it is complete and on the disk.

    Raises StoreUnusable on PostgreSQL, and where the file cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".lehr-backup-", dir=target.absolute().parent) as folder:
            rows, partial = Path(folder) / _ROWS, Path(folder) / "partial"
            backup(db, rows)
            with partial.open("xb") as file:
                os.chmod(partial, 0o600)  # it holds keys' hashes and everybody's pictures
                summary = _write(file, rows, blobs)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        _sync_folder(target.absolute().parent)
    except OSError as error:
        raise StoreUnusable(f"the backup {target} cannot be written: {error.strerror or error}") from error
    return summary


def _write(file: IO[bytes], rows: Path, blobs: Blobs) -> Summary:
    names = _named(rows)
    about = {"format": FORMAT, "revision": REVISION, "num_blobs": len(names), "rows_sha256": _sha(rows)}
    num_copied = num_bytes = 0
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, _ABOUT, json.dumps(about).encode())
        for sha in names:
            try:
                size = blobs.size(sha)
                with blobs.open(sha) as content:
                    tar.addfile(_member(f"{_BLOBS}{sha}", size), content)
            except NotFound:
                continue
            num_copied, num_bytes = num_copied + 1, num_bytes + size
        with rows.open("rb") as content:
            tar.addfile(_member(_ROWS, rows.stat().st_size), content)
    return Summary(num_blobs=num_copied, num_bytes=num_bytes, num_gone=len(names) - num_copied)


def _named(rows: Path) -> list[str]:
    """Every blob that the copied rows name."""
    with closing(Database(f"sqlite:///{rows}")) as copy, copy.read() as tx:
        found = {sha for column in NAMED_BY for sha in tx.execute(select(column).distinct()).scalars()}
    return sorted(found - {"", None})


def _member(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    tar.addfile(_member(name, len(data)), io.BytesIO(data))


# -- reading -----------------------------------------------------------------------------------------------------------


def restore(source: Path, rows: Path, blobs: Blobs) -> Summary:
    """Makes a store of the file: blobs first, the rows last, so that one that was interrupted is simply begun again.

    Raises StoreUnusable where there is a store already, and for a file that is damaged, cut off or no backup.
    """
    if rows.exists():
        raise StoreUnusable(f"{rows} exists already: restore into an empty home, with --home DIR.")
    try:
        with source.open("rb") as file, tarfile.open(fileobj=file, mode="r|") as tar:
            return _restored(tar, rows, blobs, source)
    except tarfile.TarError as error:
        raise StoreUnusable(f"{source} is no backup, or is damaged: {error}") from error
    except OSError as error:
        raise StoreUnusable(f"{source} cannot be restored: {error.strerror or error}") from error


def _restored(tar: tarfile.TarFile, rows: Path, blobs: Blobs, source: Path) -> Summary:
    members = _members(tar)
    about = _about(members, source)
    num_blobs = num_bytes = 0
    for member, content in members:
        if member.name == _ROWS:
            _put_rows(content, rows, str(about["rows_sha256"]), source)
            return Summary(num_blobs=num_blobs, num_bytes=num_bytes)
        sha = member.name.removeprefix(_BLOBS)
        if blobs.put(content) != sha:  # type: ignore[arg-type]
            raise StoreUnusable(f"{source} is damaged: blob {sha[:64]} is not what its name says.")
        num_blobs, num_bytes = num_blobs + 1, num_bytes + member.size
    raise StoreUnusable(f"{source} is cut off: its rows are missing.")


def _members(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    for member in tar:
        tar.members = []  # type: ignore[attr-defined]  # else every header is kept
        content = tar.extractfile(member) if member.isreg() else None
        if content is not None:
            yield member, content


def _about(members: Iterator[tuple[tarfile.TarInfo, IO[bytes]]], source: Path) -> dict[str, object]:
    member, content = next(members, (None, None))
    if member is None or content is None or member.name != _ABOUT or member.size > _MAX_ABOUT_BYTES:
        raise StoreUnusable(f"{source} is no backup of Lehr's: it does not begin with {_ABOUT}.")
    about = _parsed(content.read())
    if about.get("format") != FORMAT or str(about.get("revision")) > REVISION:
        raise StoreUnusable(
            f"{source} was written by a newer Lehr (format {about.get('format')}, schema {about.get('revision')}); "
            f"this one reads format {FORMAT} and schemas up to {REVISION}."
        )
    return about


def _parsed(data: bytes) -> dict[str, object]:
    try:
        about = json.loads(data)
    except ValueError:
        about = None
    return about if isinstance(about, dict) else {}


def _put_rows(content: IO[bytes], rows: Path, sha: str, source: Path) -> None:
    rows.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = rows.with_name(f"{rows.name}.{os.getpid()}.partial")
    digest = hashlib.sha256()
    try:
        with partial.open("wb") as file:
            while piece := content.read(_PIECE_BYTES):
                digest.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != sha:
            raise StoreUnusable(f"{source} is damaged: its rows are not what was backed up.")
        partial.replace(rows)
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(rows.parent)


def _sha(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
