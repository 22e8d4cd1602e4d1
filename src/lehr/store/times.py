"""Protobuf timestamps with microseconds: published clients read no finer ones."""

from __future__ import annotations

import time
from typing import Any

from lehr.protocol import timestamp_pb2

__all__ = ["micros", "now", "stamp", "timestamp", "touch"]


def now() -> timestamp_pb2.Timestamp:
    """This machine's time, in whole microseconds."""
    return timestamp(time.time_ns() // 1000)


def timestamp(microseconds: int) -> timestamp_pb2.Timestamp:
    """The message for microseconds since 1970."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return timestamp_pb2.Timestamp(seconds=seconds, nanos=rest * 1000)


def micros(moment: timestamp_pb2.Timestamp) -> int:
    """Microseconds since 1970."""
    return moment.seconds * 1_000_000 + moment.nanos // 1000


def stamp(message: Any) -> None:
    """Fills `created_at` if unset, and `modified_at` with it, where the message has them."""
    fields = message.DESCRIPTOR.fields_by_name
    if "created_at" in fields and not message.HasField("created_at"):
        message.created_at.CopyFrom(now())
    if "modified_at" in fields and not message.HasField("modified_at"):
        message.modified_at.CopyFrom(message.created_at)


def touch(message: Any) -> None:
    """Sets `modified_at` to now, where the message has it."""
    if "modified_at" in message.DESCRIPTOR.fields_by_name:
        message.modified_at.CopyFrom(now())
