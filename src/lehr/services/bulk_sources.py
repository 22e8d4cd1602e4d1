"""What a bulk operation is about: inputs by id, by search or of a data set, or annotations by search.

Rows are found in the order of their keys, so that an operation goes on behind the last one it dealt with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, select

from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.services.filters import Filters
from lehr.store import datasets as dataset_rows
from lehr.store import finding, tables
from lehr.store.bulk_operations import StoredOperation
from lehr.store.rows import app_key


@dataclass(frozen=True, kw_only=True)
class Source:
    """The rows of one operation."""

    ref: AppRef
    stored: StoredOperation
    input_ids: Sequence[str] = ()
    """What a ranked search found when the operation was asked for."""

    @property
    def is_of_annotations(self) -> bool:
        """Whether the keys are of annotations."""
        return self.stored.message.HasField("annotation_search")

    def keys(self, tx: Connection, limit: int | None = None) -> list[int]:
        """Up to `limit` keys behind the position, of those that were there at the start."""
        rows = tables.input_annotations if self.is_of_annotations else tables.inputs
        within = (rows.c.key > self.stored.position, rows.c.key <= self.stored.last_key)
        query = self._found(tx).where(*within).limit(limit)
        return [int(row[0]) for row in tx.execute(query)]

    def _found(self, tx: Connection) -> Select[Any]:
        operation = self.stored.message
        if self.is_of_annotations:
            return finding.annotations_found(tx, self.ref, self._asked(tx, operation.annotation_search))
        if operation.HasField("search") and not self.input_ids:
            return finding.inputs_found(tx, self.ref, self._asked(tx, operation.search))
        inputs, members = tables.inputs.c, tables.dataset_inputs.c
        query = select(inputs.key).where(inputs.app_key == app_key(self.ref)).order_by(inputs.key)
        if operation.HasField("dataset"):
            dataset_key = dataset_rows.key_of(tx, self.ref, operation.dataset.id)
            return query.where(inputs.key.in_(select(members.input_key).where(members.dataset_key == dataset_key)))
        return query.where(inputs.id.in_(self.input_ids or list(operation.input_ids.input_ids)))

    def _asked(self, tx: Connection, search: resources_pb2.Search) -> Any:
        return Filters(tx=tx, ref=self.ref).asked(search)
