"""Zip archives: the standard library finds the entries, after its appetite for the directory has been bounded."""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from lehr.errors import BadArchive
from lehr.services.archives.entries import Budget, Entry, EntryRefused, Kind

_ENTRY = b"PK\x01\x02"
_BYTES_PER_ENTRY = 512
"""Room in the directory: 46 bytes and a name."""
_PIECE_BYTES = 1 << 20
_UNIX = 3
_IS_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The others unpack a piece as large as it happens to be."""
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


def zip_entries(file: BinaryIO, budget: Budget, *, after: int = 0) -> Iterator[Entry]:
    """The entries from the `after`-th on. Raises BadArchive for a damaged directory or one that is too long."""
    guarded = _Guarded(file, budget)
    try:
        archive = zipfile.ZipFile(guarded)
    except _DAMAGE as error:
        raise BadArchive(f"The zip archive is damaged or cut off: {error}.") from error
    for number, info in enumerate(archive.infolist()):
        budget.check_number(number)
        if number >= after:
            yield Entry(
                number=number,
                name=info.filename,
                kind=_kind(info),
                read=lambda info=info: _read(archive, info, budget),  # type: ignore[misc]
            )


def _kind(info: zipfile.ZipInfo) -> Kind:
    mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
    if stat.S_ISLNK(mode):
        return "link"
    if info.is_dir():
        return "folder"
    return "file" if stat.S_IFMT(mode) in (0, stat.S_IFREG) else "other"


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: Budget) -> bytes:
    name = info.filename[:100]
    if info.flag_bits & _IS_ENCRYPTED:
        raise EntryRefused(f"{name} is encrypted; entries are read without a password")
    if info.compress_type not in _METHODS:
        raise EntryRefused(f"{name} is packed with method {info.compress_type}; stored and deflated entries are read")
    if info.file_size > budget.bounds.max_entry_bytes:
        raise EntryRefused(
            f"{name} has {info.file_size:,} bytes; an input has at most {budget.bounds.max_entry_bytes:,}"
        )
    try:
        with archive.open(info) as member:
            return budget.read(member, name)
    except _DAMAGE as error:
        raise EntryRefused(f"{name} is damaged: {error}") from error


class _Guarded(io.RawIOBase):
    """The file, except that no directory of more entries than allowed is read into memory at once."""

    def __init__(self, file: BinaryIO, budget: Budget) -> None:
        self._file = file
        self._budget = budget

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_SET and offset < 0:
            raise zipfile.BadZipFile("its directory is said to begin before its first byte")
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1, /) -> bytes:
        most = max(_PIECE_BYTES, self._budget.bounds.max_entries * _BYTES_PER_ENTRY)
        data = self._file.read(min(size, most + 1) if size >= 0 else most + 1)
        if len(data) > most:
            raise BadArchive(f"The zip archive's directory is longer than the {most:,} bytes that are read.")
        if data.startswith(_ENTRY):
            self._budget.check_number(data.count(_ENTRY) - 1)
        return data
