"""What was uploaded in parts, as one file: nothing is copied together, a part is opened when it is read."""

from __future__ import annotations

import errno
import io
from bisect import bisect_right
from collections.abc import Sequence
from typing import BinaryIO

from lehr.store.blobs import Blobs
from lehr.store.uploads import Part


class PartsFile(io.RawIOBase):
    """A seekable file over parts that follow each other without a gap."""

    def __init__(self, blobs: Blobs, parts: Sequence[Part]) -> None:
        self._blobs = blobs
        self._parts = list(parts)
        self._starts = [part.start for part in parts]
        self.size = parts[-1].end if parts else 0
        assert [0, *(part.end for part in parts)] == [*self._starts, self.size], "parts must follow each other"
        self._place = 0
        self._opened: tuple[int, BinaryIO] | None = None

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Raises OSError for a place before the beginning, as files do."""
        place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        if place < 0:
            raise OSError(errno.EINVAL, "Invalid argument")
        self._place = place
        return place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fills the buffer as far as the part goes that the place is in."""
        if self._place >= self.size:
            return 0
        number = bisect_right(self._starts, self._place) - 1
        part = self._parts[number]
        file = self._file(number)
        file.seek(self._place - part.start)
        data = file.read(min(len(buffer), part.end - self._place))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def _file(self, number: int) -> BinaryIO:
        if self._opened is None or self._opened[0] != number:
            self._let_go()
            self._opened = number, self._blobs.open(self._parts[number].sha)
        return self._opened[1]

    def _let_go(self) -> None:
        if self._opened is not None:
            self._opened[1].close()
            self._opened = None

    def close(self) -> None:
        """Closes the part that is open."""
        self._let_go()
        super().close()
