"""Reads archives from strangers: entry by entry, in bounded memory, each a name and its bytes.

Nothing is ever written to a path: names are labels. Links, devices and archives within archives are told, not followed.
What becomes of the bytes is not decided here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from lehr.errors import BadArchive
from lehr.services.archives.entries import Bounds, Budget, Entry, EntryRefused
from lehr.services.archives.tars import is_tar_header, tar_entries
from lehr.services.archives.unpacking import unpacked
from lehr.services.archives.zips import zip_entries

__all__ = ["Bounds", "Entry", "EntryRefused", "is_archive", "read_entries"]

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_PACKED_TARS = (b"\x1f\x8b", b"BZh")
_UNREAD = {
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "RAR",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}
_HEAD_BYTES = 512


def read_entries(
    file: BinaryIO, name: str, size: int, *, bounds: Bounds | None = None, after: int = 0, spent: int = 0
) -> Iterator[Entry]:
    """The entries of an archive from the `after`-th on; of any other file, the file itself as the one entry.

    `spent` is what was unpacked before, in an earlier run. Raises BadArchive for one that is damaged, of a kind that is
    not read, or larger inside than the bounds allow; what is wrong with one entry is raised when that entry is read.
    """
    bounds = bounds or Bounds()
    budget = Budget(bounds, archive_bytes=size, spent=spent)
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    if head.startswith(_ZIP):
        return zip_entries(file, budget, after=after)
    if head.startswith(_PACKED_TARS):
        # Skipping in a packed tar unpacks again, which counts again.
        return tar_entries(unpacked(file, head), Budget(bounds, archive_bytes=size), after=after)
    if is_tar_header(head):
        return tar_entries(file, Budget(bounds, archive_bytes=size), after=after)
    for magic, kind in _UNREAD.items():
        if head.startswith(magic):
            raise BadArchive(f"{name[:100]!r} is a {kind} archive; zip, tar, tar.gz and tar.bz2 are read.")
    return iter([_whole(file, name, budget)] if after == 0 else [])


def is_archive(data: bytes) -> bool:
    """Whether bytes look like an archive of any kind that is known, read or not."""
    return data.startswith((*_ZIP, *_PACKED_TARS, *_UNREAD)) or is_tar_header(data[:_HEAD_BYTES])


def _whole(file: BinaryIO, name: str, budget: Budget) -> Entry:
    return Entry(number=0, name=name, kind="file", read=lambda: budget.read(file, name))
