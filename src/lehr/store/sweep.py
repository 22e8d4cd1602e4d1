"""Clears away blobs that no row names: what deletions, replaced checkpoints and crashes between blob and row leave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from sqlalchemy import Connection, delete, select

from lehr.store import tables
from lehr.store.blobs import Blobs, LocalBlobs
from lehr.store.db import Database

__all__ = ["NAMED_BY", "sweep", "unreferenced"]

NAMED_BY = (
    tables.inputs.c.content_sha,
    tables.inputs.c.thumbnail_sha,
    tables.frozen_inputs.c.content_sha,
    tables.checkpoints.c.sha,
    tables.bundles.c.sha,
    tables.evaluations.c.details_sha,
    tables.training_sets.c.sha,
    tables.model_exports.c.sha,
    tables.upload_parts.c.sha,
    tables.extraction_jobs.c.archive_sha,
    tables.dataset_exports.c.sha,
)
"""Every column that names a blob; a test holds it complete."""

GRACE_SECONDS = 3600.0
"""A blob is put before its row is written; within this time the row must have come."""
BATCH = 500


def unreferenced(tx: Connection, shas: Iterable[str]) -> list[str]:
    """Those that no row names."""
    left = dict.fromkeys(shas)
    for column in NAMED_BY:
        for named in tx.execute(select(column).where(column.in_(list(left)))).scalars().all():
            left.pop(named, None)
    return list(left)


def sweep(db: Database, blobs: Blobs, *, grace_seconds: float = GRACE_SECONDS) -> int:
    """Deletes unnamed blobs older than the grace; answers how many. May run beside everything else."""
    gone = 0
    for batch in _batches(blobs.list()):
        with db.read() as tx:
            idle = unreferenced(tx, batch)
        deleted = [sha for sha in idle if blobs.delete(sha, unless_put_within=grace_seconds)]
        if deleted:
            with db.write() as tx:
                tx.execute(delete(tables.blob_sizes).where(tables.blob_sizes.c.blob.in_(deleted)))
        gone += len(deleted)
    if isinstance(blobs, LocalBlobs):
        blobs.clear_partial(max(grace_seconds, 24 * GRACE_SECONDS))
    return gone


def _batches(names: Iterator[str]) -> Iterator[Sequence[str]]:
    while batch := list(islice(names, BATCH)):
        yield batch
