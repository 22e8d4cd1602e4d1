"""How many hits may be ranked at once, over all searches: the next ones wait, and are then asked to come again.

A page far behind, or a count of everything, holds every hit before it; without a bound, many such searches together
would hold more than the machine has. Ordinary pages of ordinary searches are too small to wait for each other.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lehr.errors import Busy
from lehr.protocol import status_code_pb2

__all__ = ["SearchRoom"]

CAPACITY = 1_000_000
"""Hits; each takes about 280 bytes while it is ranked."""
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class SearchRoom:
    """A budget of hits. A search that wants more than all of it runs when no other does."""

    capacity: int = CAPACITY
    patience_seconds: float = PATIENCE_SECONDS
    _held: list[int] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @contextmanager
    def taken(self, hits: int) -> Iterator[None]:
        """Holds room for so many hits inside the block. Raises Busy, with the code that clients repeat a call on."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._fits(hits), self.patience_seconds):
                raise Busy(
                    f"Other searches rank {sum(self._held):,} hits right now, and this one wants {hits:,} more: at "
                    f"most {self.capacity:,} are ranked at once. Try again in a moment, or ask for a page nearer the "
                    "front or a narrower filter.",
                    code=status_code_pb2.CONN_THROTTLED,
                )
            self._held.append(hits)
        try:
            yield
        finally:
            with self._changed:
                self._held.remove(hits)
                self._changed.notify_all()

    def _fits(self, hits: int) -> bool:
        return not self._held or sum(self._held) + hits <= self.capacity
