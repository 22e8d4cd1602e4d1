"""Calls that carry many items: each item has its own status, and the call one that sums them up."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from lehr.errors import LehrError
from lehr.protocol import status_code_pb2, status_pb2
from lehr.protocol.statuses import status

T = TypeVar("T")

CHUNK = 500
"""Ids that go into one statement."""


def overall(statuses: Sequence[status_pb2.Status], good: Collection[int]) -> status_pb2.Status:
    """SUCCESS, MIXED_STATUS or FAILURE of the whole call; `good` are the codes that are no failure of an item."""
    bad = [item for item in statuses if item.code not in good]
    if not bad:
        return status(status_code_pb2.SUCCESS)
    code = status_code_pb2.FAILURE if len(bad) == len(statuses) else status_code_pb2.MIXED_STATUS
    first = bad[0].details or bad[0].description
    return status(code, f"{len(bad)} of {len(statuses)} failed; the first because: {first}")


def refusal(error: LehrError) -> status_pb2.Status:
    """The status of an item that was refused."""
    return status(error.code, error.details, http=error.http_status)


def chunks(items: Sequence[T]) -> Iterator[list[T]]:
    """The items in their order, CHUNK at a time."""
    rest = iter(items)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
