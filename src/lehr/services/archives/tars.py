"""Tar archives (POSIX ustar and pax, GNU, V7), read front to back in bounded memory.

Python's own tarfile keeps every header it has seen and believes the sizes in extended headers; this reads what is
needed to name regular files, and no more. Format: POSIX.1-2017, pax, and the GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lehr.errors import BadArchive
from lehr.services.archives.entries import PIECE_BYTES, Budget, Entry, EntryRefused, Kind, Readable

_BLOCK = 512
_MAX_HEADER_BYTES = 1 << 16
"""Of a long name or of extended attributes."""
_KINDS: dict[bytes, Kind] = {
    b"0": "file", b"\0": "file", b"7": "file", b"5": "folder", b"1": "link", b"2": "link",
}  # fmt: skip
_LONG_NAME, _LONG_LINK, _EXTENDED, _GLOBAL = b"L", b"K", b"x", b"g"


@dataclass(frozen=True, kw_only=True)
class _Header:
    name: str
    size: int
    type: bytes


def is_tar_header(block: bytes) -> bool:
    """Whether 512 bytes are a tar header: their checksum says so."""
    if len(block) < _BLOCK or not block[0]:
        return False
    try:
        told = _number(block[148:156])
    except BadArchive:
        return False
    return told == sum(block[:148]) + 8 * 0x20 + sum(block[156:])


def tar_entries(source: Readable, budget: Budget, *, after: int = 0) -> Iterator[Entry]:
    """The entries from the `after`-th on. Raises BadArchive for damage."""
    tape = _Tape(source, budget)
    for number, header in enumerate(_headers(tape)):
        budget.check_number(number)
        tape.open(header)
        if number >= after:
            yield Entry(
                number=number,
                name=header.name,
                kind=_KINDS.get(header.type, "other"),
                read=lambda header=header: tape.read(header),  # type: ignore[misc]
            )
        tape.skip_rest()


class _Tape:
    """The stream with the entry that the head stands in."""

    def __init__(self, source: Readable, budget: Budget) -> None:
        self._source = source
        self._budget = budget
        self._left = 0
        self._padding = 0

    def open(self, header: _Header) -> None:
        has_body = header.type not in (b"1", b"2", b"3", b"4", b"5", b"6")
        self._left = header.size if has_body else 0
        self._padding = -self._left % _BLOCK

    def read(self, header: _Header) -> bytes:
        most = self._budget.bounds.max_entry_bytes
        if self._left > most:
            raise EntryRefused(f"{header.name[:100]} has {self._left:,} bytes; an input has at most {most:,}")
        data = self.take(self._left)
        self._left = 0
        return data

    def skip_rest(self) -> None:
        rest = self._left + self._padding
        while rest:
            rest -= len(self.take(min(rest, PIECE_BYTES)))
        self._left = self._padding = 0

    def take(self, size: int) -> bytes:
        """Exactly so many bytes. Raises BadArchive where the stream ends before."""
        data = self.up_to(size)
        if len(data) < size:
            raise BadArchive("The archive is cut off: it ends in the middle of an entry.")
        return data

    def up_to(self, size: int) -> bytes:
        collected = bytearray()
        while len(collected) < size:
            piece = self._source.read(min(size - len(collected), PIECE_BYTES))
            if not piece:
                break
            self._budget.spend(len(piece))
            collected += piece
        return bytes(collected)


def _headers(tape: _Tape) -> Iterator[_Header]:
    """Headers of entries, with long names and extended attributes applied."""
    extended: dict[str, str] = {}
    while True:
        block = tape.up_to(_BLOCK)
        if not block.strip(b"\0"):
            return
        if not is_tar_header(block):
            raise BadArchive("The archive is damaged: a header's checksum is wrong.")
        header = _parsed(block)
        if header.type in (_LONG_NAME, _LONG_LINK, _EXTENDED, _GLOBAL):
            body = _attribute_body(tape, header)
            if header.type == _LONG_NAME:
                extended["path"] = _text(body)
            elif header.type == _EXTENDED:
                extended |= _attributes(body)
            continue
        yield _with(header, extended)
        extended = {}


def _attribute_body(tape: _Tape, header: _Header) -> bytes:
    if header.size > _MAX_HEADER_BYTES:
        raise BadArchive(f"The archive has a header of {header.size:,} bytes; at most {_MAX_HEADER_BYTES:,} are read.")
    body = tape.take(header.size)
    tape.take(-header.size % _BLOCK)
    return body


def _with(header: _Header, extended: dict[str, str]) -> _Header:
    size = extended.get("size", "")
    if size and not (size.isascii() and size.isdigit() and len(size) <= 18):
        raise BadArchive(f"The archive is damaged: an entry's size is {size[:40]!r}.")
    return _Header(name=extended.get("path", header.name), size=int(size) if size else header.size, type=header.type)


def _attributes(body: bytes) -> dict[str, str]:
    """pax records, "LENGTH KEY=VALUE\\n"; only the name and the size matter here."""
    found = {}
    while body:
        length, space, _ = body.partition(b" ")
        if not space or not length.isdigit() or len(length) > 6 or not len(length) + 2 < int(length) <= len(body):
            raise BadArchive("The archive is damaged: its extended attributes cannot be read.")
        record, body = body[len(length) + 1 : int(length) - 1], body[int(length) :]
        key, _, value = record.partition(b"=")
        if key in (b"path", b"size"):
            found[key.decode()] = _text(value)
    return found


def _parsed(block: bytes) -> _Header:
    name, prefix = _text(block[:100]), ""
    if block[257:262] == b"ustar" and block[262:263] == b"\0":
        prefix = _text(block[345:500])
    return _Header(name=f"{prefix}/{name}" if prefix else name, size=_number(block[124:136]), type=block[156:157])


def _number(field: bytes) -> int:
    """Octal digits, or GNU's base 256 for large ones. Raises BadArchive; no size is below 0."""
    if field[0] == 0x80:  # the largest of them, 88 bits, is refused as a size later on
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b"\0 ")
    if not digits:
        return 0
    try:
        if not digits.isdigit():
            raise ValueError
        return int(digits, 8)
    except ValueError:
        raise BadArchive(f"The archive is damaged: a header says {field!r} where a number belongs.") from None


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "replace")
