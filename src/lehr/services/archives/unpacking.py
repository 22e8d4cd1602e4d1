"""The stream behind gzip and bzip2, where damage is told in a sentence."""

from __future__ import annotations

import bz2
import gzip
import zlib
from typing import BinaryIO

from lehr.errors import BadArchive
from lehr.services.archives.entries import Readable

_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)


def unpacked(file: BinaryIO, head: bytes) -> Readable:
    """What the file, which begins with `head`, was packed from. Each read gives at most what it asks for."""
    return _Unpacked(bz2.BZ2File(file) if head.startswith(b"BZh") else gzip.GzipFile(fileobj=file))


class _Unpacked:
    def __init__(self, stream: BinaryIO | bz2.BZ2File | gzip.GzipFile) -> None:
        self._stream = stream

    def read(self, size: int, /) -> bytes:
        try:
            return self._stream.read(size)
        except _DAMAGE as error:
            raise BadArchive(f"The archive is damaged or cut off: {error}.") from error
        except OSError as error:
            if error.errno is not None:  # the disk's trouble, not the archive's
                raise
            raise BadArchive(f"The archive is damaged: {error}.") from error
