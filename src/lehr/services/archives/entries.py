"""What an archive consists of, and how much of it is taken in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from lehr.errors import BadArchive, LehrError

PIECE_BYTES = 1 << 20
Kind = Literal["file", "folder", "link", "other"]


class EntryRefused(LehrError):
    """One entry cannot be read; the others can."""

    code = 67000
    http_status = 400


class Readable(Protocol):
    """Whatever gives bytes."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How much one archive may hold."""

    max_entries: int = 200_000
    max_entry_bytes: int = 85 * 2**20
    """As of any input."""
    max_bytes: int = 64 * 2**30
    """Unpacked, all together."""
    max_ratio: int = 200
    """Unpacked to packed. Pictures hardly shrink; bombs shrink a thousandfold."""
    free_bytes: int = 256 * 2**20
    """Unpacked, that no ratio is asked of: a small archive of plain drawings may be very small."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One member of an archive. `read` may be called once, before the next entry is asked for."""

    number: int
    """Its place, from 0."""
    name: str
    """As the archive has it, readable; never to be used as a path."""
    kind: Kind
    read: Callable[[], bytes]
    """All its bytes. Raises EntryRefused, or BadArchive where the whole archive is no good."""


class Budget:
    """Counts what is unpacked, and ends it when it is too much. Declared sizes are not believed: bytes are counted."""

    def __init__(self, bounds: Bounds, *, archive_bytes: int, spent: int = 0) -> None:
        self.bounds = bounds
        self.spent = spent
        ratio = bounds.max_ratio * archive_bytes + bounds.free_bytes
        self._most = min(bounds.max_bytes, ratio)

    def spend(self, num_bytes: int) -> None:
        """Raises BadArchive when the archive's allowance is used up."""
        self.spent += num_bytes
        if self.spent > self._most:
            raise BadArchive(
                f"The archive unpacks to more than {self._most:,} bytes; at most {self.bounds.max_bytes:,} are "
                f"accepted, and no more than {self.bounds.max_ratio} times its own size. Send it in several archives."
            )

    def check_number(self, number: int) -> None:
        """Raises BadArchive for the entry of this number when it is one too many."""
        if number >= self.bounds.max_entries:
            raise BadArchive(
                f"The archive has more than {self.bounds.max_entries:,} entries; send it in several archives."
            )

    def read(self, source: Readable, name: str) -> bytes:
        """Everything that is left of `source`. Raises EntryRefused if that is too much for one input."""
        collected = bytearray()
        while piece := source.read(PIECE_BYTES):
            self.spend(len(piece))
            collected += piece
            if len(collected) > self.bounds.max_entry_bytes:
                raise EntryRefused(f"{name[:100]} has more than {self.bounds.max_entry_bytes:,} bytes")
        return bytes(collected)
