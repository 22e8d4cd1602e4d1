"""A file of known size as an HTTP answer that honours `Range` (RFC 9110, section 14): whole, or the one part asked for.

Several ranges at once are answered with the whole file, as the standard allows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

CHUNK = 256 * 1024
_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*")


def ranged(request: Request, file: BinaryIO, *, tag: str, headers: Mapping[str, str]) -> Response:
    """200 with all of the seekable `file`, 206 with a part, or 416. `tag` is what the content is called by.

    `headers` must have the Content-Type. The file is closed when the answer is sent.
    """
    size = file.seek(0, 2)
    told = {**headers, "Accept-Ranges": "bytes", "ETag": f'"{tag}"'}
    wanted = _wanted(request, tag, size)
    if wanted is None:
        return StreamingResponse(_parts(file, 0, size), headers={**told, "Content-Length": str(size)})
    first, last = wanted
    if first >= size:
        file.close()
        said = f"The file has {size} bytes; the range {request.headers['range']!r} holds none of them."
        return PlainTextResponse(said, status_code=416, headers={"Content-Range": f"bytes */{size}"})
    told |= {"Content-Length": str(last - first + 1), "Content-Range": f"bytes {first}-{last}/{size}"}
    return StreamingResponse(_parts(file, first, last + 1), status_code=206, headers=told)


def _wanted(request: Request, tag: str, size: int) -> tuple[int, int] | None:
    """First and last byte asked for; None: all. A range that begins past the end comes back as it is."""
    found = _RANGE.fullmatch(request.headers.get("range", ""))
    if found is None or request.headers.get("if-range", f'"{tag}"') != f'"{tag}"':
        return None
    first, last = found.groups()
    if not first:
        return (max(0, size - int(last)), size - 1) if last else None
    if last and int(last) < int(first):  # no range at all, and such a header counts as absent
        return None
    return int(first), min(int(last), size - 1) if last else size - 1


def _parts(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < end and (part := file.read(min(CHUNK, end - start))):
            start += len(part)
            yield part
