"""Where pages of inputs begin, remembered: a page number alone would have the database count all rows before it.

A listing goes from page to page, so the page asked for mostly begins behind the last row of one that was just read.
New inputs come at the end and move no page; every deletion counts up `apps.input_deletions`, in its own transaction,
and what was remembered before it counts no more. Keys of apps are never given twice.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

__all__ = ["Beginnings", "Listing"]

MAX_PAGES = 50_000  # 14 MiB


class Listing(NamedTuple):
    """All inputs of one app in pages of one size, as they are until the next deletion."""

    app_key: int
    num_deletions: int
    per_page: int


class Beginnings:
    """Of the pages last read, the key of the row before each. Safe to share between threads."""

    def __init__(self) -> None:
        self._keys: OrderedDict[tuple[Listing, int], int] = OrderedDict()
        self._lock = threading.Lock()

    def before(self, listing: Listing, page: int) -> int | None:
        """Key of the last row before the page; None where nobody read that row."""
        with self._lock:
            return 0 if page == 1 else self._keys.get((listing, page))

    def remember(self, listing: Listing, page: int, key: int) -> None:
        """The row of this key is the last one before the page."""
        with self._lock:
            self._keys[listing, page] = key
            self._keys.move_to_end((listing, page))
            if len(self._keys) > MAX_PAGES:
                self._keys.popitem(last=False)
