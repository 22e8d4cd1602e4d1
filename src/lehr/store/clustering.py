"""Keys and ids of the inputs that a clusterer puts together."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from lehr.protocol.ids import AppRef
from lehr.store import datasets
from lehr.store.rows import app_key
from lehr.store.tables import dataset_inputs, inputs

__all__ = ["check_dataset", "input_ids", "keys_of_dataset"]

_AT_ONCE = 5000


def check_dataset(tx: Connection, ref: AppRef, dataset_id: str) -> None:
    """Raises NotFound."""
    datasets.key_of(tx, ref, dataset_id)


def keys_of_dataset(tx: Connection, ref: AppRef, dataset_id: str) -> list[int]:
    """Keys of the data set's inputs. Raises NotFound."""
    members = dataset_inputs.c
    query = select(members.input_key).where(members.dataset_key == datasets.key_of(tx, ref, dataset_id))
    return list(tx.execute(query).scalars())


def input_ids(tx: Connection, ref: AppRef, keys: Sequence[int]) -> dict[int, str]:
    """Key → id, of those that are still there."""
    found: dict[int, str] = {}
    for start in range(0, len(keys), _AT_ONCE):
        some = list(keys[start : start + _AT_ONCE])
        query = select(inputs.c.key, inputs.c.id).where(inputs.c.app_key == app_key(ref), inputs.c.key.in_(some))
        found |= {row.key: row.id for row in tx.execute(query)}
    return found
