"""Where a training can go on from: the blobs of its last two checkpoints. A torn one leaves the other."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select
from sqlalchemy import delete as sql_delete

from lehr.errors import LeaseLost
from lehr.store.tables import checkpoints as table
from lehr.store.versions import ModelVersionRef, key_of

__all__ = ["KEPT", "Checkpoint", "add", "delete", "newest"]

KEPT = 2


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A blob, the optimizer step it was taken after, and the fencing token of the job that wrote it."""

    sha: str
    step: int
    token: int


def add(tx: Connection, ref: ModelVersionRef, checkpoint: Checkpoint) -> list[str]:
    """Points at a new checkpoint and forgets all but the last two; answers the blobs that this version let go.

    Raises ModelNotFound, and LeaseLost if a later holder of the job has written one already.
    """
    version_key = key_of(tx, ref)
    before = newest(tx, ref)
    if any(old.token > checkpoint.token for old in before):
        raise LeaseLost(f"another run of {ref} has written a checkpoint; this one, token {checkpoint.token}, must stop")
    row = {"version_key": version_key, "sha": checkpoint.sha, "step": checkpoint.step, "token": checkpoint.token}
    tx.execute(insert(table).values(**row))
    kept = select(table.c.key).where(table.c.version_key == version_key).order_by(table.c.key.desc()).limit(KEPT)
    old = table.c.version_key == version_key, table.c.key.not_in([key for (key,) in tx.execute(kept)])
    gone = tx.execute(sql_delete(table).where(*old).returning(table.c.sha)).scalars().all()
    return [sha for sha in gone if sha not in {present.sha for present in newest(tx, ref)}]


def newest(tx: Connection, ref: ModelVersionRef) -> list[Checkpoint]:
    """The kept checkpoints, newest first. Raises ModelNotFound."""
    query = select(table).where(table.c.version_key == key_of(tx, ref)).order_by(table.c.key.desc())
    return [Checkpoint(sha=row.sha, step=row.step, token=row.token) for row in tx.execute(query)]


def delete(tx: Connection, ref: ModelVersionRef) -> list[str]:
    """Forgets all of the version's checkpoints, once it is trained; answers their blobs."""
    gone = sql_delete(table).where(table.c.version_key == key_of(tx, ref)).returning(table.c.sha)
    return list(tx.execute(gone).scalars())
