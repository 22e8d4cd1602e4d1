"""The body of one HTTP request: read once, into one buffer, within the room that there is."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.requests import Request

from lehr.api.room import MAX_MESSAGE_BYTES, Room
from lehr.errors import BadFormat, Busy, TooLarge
from lehr.protocol import status_code_pb2

_LARGEST = MAX_MESSAGE_BYTES * 4 // 3 + 16 * 1024 * 1024
"""1 GiB of pictures in base64, and what is around them."""
_STALLED_SECONDS = 60
_STEP = 1024 * 1024
"""A body of unannounced length takes room in steps of this."""


class Body:
    """An async context: inside it the body may be read, and its bytes are counted in the room until its end."""

    def __init__(self, request: Request, room: Room) -> None:
        self.request = request
        self._room = room
        self._taken = 0

    @property
    def announced(self) -> int | None:
        """`Content-Length`; 0 where there is no body, None where the length is not said (chunked)."""
        headers = self.request.headers
        if "content-length" in headers:
            return int(headers["content-length"])  # the HTTP parser has let only digits through
        return None if "transfer-encoding" in headers else 0

    @property
    def is_hopeless(self) -> bool:
        """More is announced than would ever be read: not even to throw it away."""
        return (self.announced or 0) > _LARGEST

    async def __aenter__(self) -> Body:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._room.give_back(self._taken)

    async def read(self) -> bytearray:
        """All of it. Raises TooLarge, BadFormat (a compressed one), Busy (it stalls, or no room is found in time)."""
        if self.request.headers.get("content-encoding", "identity") != "identity":
            raise BadFormat("the body is compressed; send it as it is, without Content-Encoding")
        announced = self.announced
        _check_size(announced or 0)
        if announced:
            await self._take(announced)
        data = bytearray()
        async for chunk in self._chunks():
            data += chunk
            if len(data) > self._taken:
                _check_size(len(data))
                await self._take(max(_STEP, len(chunk)))
        return data

    async def _take(self, size: int) -> None:
        await self._room.take(size)
        self._taken += size

    async def _chunks(self):  # type: ignore[no-untyped-def]
        chunks = self.request.stream()
        while True:
            try:
                yield await asyncio.wait_for(anext(chunks), _STALLED_SECONDS)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise Busy(
                    f"the rest of the body did not come within {_STALLED_SECONDS} s; send the request again",
                    code=status_code_pb2.RPC_REQUEST_TIMEOUT,
                ) from None


def _check_size(size: int) -> None:
    if size > _LARGEST:
        raise TooLarge(
            f"the body has more than {_LARGEST >> 20} MiB; send fewer inputs in one request",
            code=status_code_pb2.RPC_MAX_MESSAGE_SIZE_EXCEEDED,
        )
