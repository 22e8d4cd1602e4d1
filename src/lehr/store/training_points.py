"""The points of a training's curves, in the order they came."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select
from sqlalchemy import delete as sql_delete

from lehr.store.rows import paged
from lehr.store.tables import training_points as table
from lehr.store.versions import ModelVersionRef, key_of

__all__ = ["append", "forget_after", "page"]


def append(tx: Connection, ref: ModelVersionRef, points: Sequence[Mapping[str, Any]]) -> None:
    """Adds points, each with its `step`. Raises ModelNotFound."""
    version_key = key_of(tx, ref)
    if points:
        rows = [{"version_key": version_key, "step": point["step"], "point": json.dumps(point)} for point in points]
        tx.execute(insert(table), rows)


def forget_after(tx: Connection, ref: ModelVersionRef, step: int) -> None:
    """Forgets what came after a step: a training that goes on from there measures it again. Raises ModelNotFound."""
    tx.execute(sql_delete(table).where(table.c.version_key == key_of(tx, ref), table.c.step > step))


def page(tx: Connection, ref: ModelVersionRef, *, page: int, per_page: int) -> list[str]:
    """One page of the points as JSON, oldest first. Raises ModelNotFound."""
    query = select(table.c.point).where(table.c.version_key == key_of(tx, ref)).order_by(table.c.key)
    return list(tx.execute(paged(query, page, per_page)).scalars())
