"""Waits for a database that others keep locked: those who hold leases waited too, and may renew them first."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

__all__ = ["Stalls"]

STALL_SECONDS = 0.5
"""Who waited longer for its turn to write was not alone."""
CATCH_UP_SECONDS = 5.0
"""So long after such a stall nobody's lease counts as run out: first they may renew them."""
MOST_CATCH_UP_SECONDS = 60.0
"""On a database that stalls again and again: after so long everybody alive has had a turn."""


@dataclass
class Stalls:
    """Those that one process has seen."""

    _last_at: float = field(default=float("-inf"), init=False)
    _first_at: float = field(default=float("-inf"), init=False)
    """Of those that came one upon the other."""

    def note_wait(self, began: float) -> None:
        """Somebody waited since then (as time.monotonic tells) for a turn, or in vain."""
        now = time.monotonic()
        if now - began <= STALL_SECONDS:
            return
        if now - self._last_at > CATCH_UP_SECONDS:
            self._first_at = now
        self._last_at = now

    @property
    def are_recent(self) -> bool:
        """Whether others may still have to renew their leases."""
        now = time.monotonic()
        return now - self._last_at <= CATCH_UP_SECONDS and now - self._first_at <= MOST_CATCH_UP_SECONDS
