"""How much an app keeps: bytes of its media, its models and what else belongs to it.

Sizes are noted as blobs come in (`ingest`) or by housekeeping; a sum asks the database alone, but for the few blobs
that came since.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock

from lehr.errors import NotFound
from lehr.protocol.ids import AppRef
from lehr.store import blob_sizes
from lehr.store.blobs import Blobs
from lehr.store.db import Database

MEASURING_SECONDS = 1.0
"""So long blobs that nobody measured are looked at before a sum is told without the rest."""
BATCH = 500
KEPT_FOR = 50.0
"""A sum is told again for so many times what it took to make: adding up never takes more than a fiftieth of a core."""
MAX_KEPT = 1000


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Bytes of an app. A blob that it names several times counts once."""

    media: int
    models: int
    checkpoints: int
    evaluations: int
    transfers: int
    """Exports, archives that were fetched, uploads that are under way."""
    num_blobs: int
    shared: int
    """Of the media: bytes that another app has too, stored once for both."""
    is_complete: bool
    """Whether the size of everything is known yet."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.media + self.models + self.checkpoints + self.evaluations + self.transfers


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Needs the store and the blobs."""

    db: Database
    blobs: Blobs
    _told: dict[AppRef, tuple[float, Stored]] = field(default_factory=dict)
    """Sums, each with the moment (of the monotonic clock) until which it is told again."""
    _counting: Lock = field(default_factory=Lock)

    def of(self, ref: AppRef) -> Stored:
        """What the app keeps now, or kept a moment ago where adding it up takes long."""
        with self._counting:  # who asks at the same time gets the same sum
            until, stored = self._told.get(ref, (0.0, None))
            began = time.monotonic()
            if stored is not None and began < until:
                return stored
            stored = self._counted(ref)
            if not stored.is_complete and self._measure_new(ref):
                stored = self._counted(ref)
            ended = time.monotonic()
            if len(self._told) >= MAX_KEPT:
                self._told.clear()
            self._told[ref] = (ended + KEPT_FOR * (ended - began), stored)
            return stored

    def _counted(self, ref: AppRef) -> Stored:
        with self.db.read() as tx:
            sums = {part: blob_sizes.sum_of(tx, ref, part) for part in blob_sizes.PARTS}
            return Stored(
                **{part: each.num_bytes for part, each in sums.items()},
                num_blobs=sum(each.num_blobs for each in sums.values()),
                shared=blob_sizes.shared_bytes(tx, ref),
                is_complete=not any(each.num_unmeasured for each in sums.values()),
            )

    def _measure_new(self, ref: AppRef) -> int:
        """Notes what came since, as far as there is time; answers of how many blobs."""
        with self.db.read() as tx:
            left = blob_sizes.unmeasured_of(tx, ref, limit=BATCH)
        return note_sizes(self.db, self.blobs, left, MEASURING_SECONDS)


def measure(db: Database, blobs: Blobs) -> int:
    """Notes the size of everything that has none yet; answers of how many blobs."""
    done = 0
    while True:
        with db.read() as tx:
            left = blob_sizes.unmeasured(tx, limit=BATCH)
        noted = note_sizes(db, blobs, left)
        if not noted:
            return done
        done += noted


def note_sizes(db: Database, blobs: Blobs, shas: Iterable[str], within_seconds: float = float("inf")) -> int:
    """Asks the blob store for sizes; answers how many it told in that time. A blob that is gone has none."""
    ends, sizes = time.monotonic() + within_seconds, {}
    for sha in shas:
        if time.monotonic() > ends:
            break
        with suppress(NotFound):
            sizes[sha] = blobs.size(sha)
    if sizes:
        with db.write() as tx:
            blob_sizes.note(tx, sizes)
    return len(sizes)
