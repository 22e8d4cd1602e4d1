"""Numbers, sizes and times as people read them."""

from __future__ import annotations

import time

from lehr.protocol import timestamp_pb2

_UNITS = ("B", "kB", "MB", "GB", "TB")


def count(number: int) -> str:
    """`100000` → `100,000`."""
    return f"{number:,}"


def counted(number: int, noun: str) -> str:
    """`1 input`, `2 inputs`."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def size(num_bytes: float) -> str:
    """`1536` → `1.5 kB`."""
    for unit in _UNITS:
        if num_bytes < 1000 or unit == _UNITS[-1]:
            return f"{num_bytes:.0f} {unit}" if unit == "B" or num_bytes >= 100 else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    raise AssertionError("every number of bytes has a unit")


def duration(seconds: float) -> str:
    """`90` → `1 min 30 s`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def ago(moment: timestamp_pb2.Timestamp, *, now: float | None = None) -> str:
    """How long ago, in its largest unit: `3 hours ago`."""
    seconds = max(0, int((time.time() if now is None else now) - moment.seconds))
    for length, noun in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= length:
            return f"{counted(seconds // length, noun)} ago"
    return "just now"
