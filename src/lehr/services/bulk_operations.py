"""Operations on many inputs or annotations at once: asked for, followed, cancelled. They run in bulk_running.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from lehr.errors import Duplicate, InvalidRequest, LehrError, NotFound
from lehr.jobs.queue import Queue
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef, checked_id, new_id
from lehr.protocol.statuses import status
from lehr.services.filters import Filters
from lehr.services.paging import Paging
from lehr.services.ranks import legacy_ranks
from lehr.services.regions import cleaned
from lehr.services.searches import Searches
from lehr.store import bulk_operations as rows
from lehr.store import datasets as dataset_rows
from lehr.store.bulk_operations import StoredOperation
from lehr.store.db import Database
from lehr.store.times import now

KIND = "bulk"
MAX_OPERATIONS = 32
"""Operations in one request."""
MAX_INPUT_IDS = 10_000
"""Inputs that one operation names, or finds by how they look."""
INVALID = status_code_pb2.BULK_OPERATION_INVALID_REQUEST
PENDING, IN_PROGRESS = status_code_pb2.BULK_OPERATION_PENDING, status_code_pb2.BULK_OPERATION_IN_PROGRESS
SUCCESS, CANCELLED = status_code_pb2.BULK_OPERATION_SUCCESS, status_code_pb2.BULK_OPERATION_CANCELLED
FAILED = status_code_pb2.BULK_OPERATION_FAILED
_OPEN = (PENDING, IN_PROGRESS)
_WITH_DATASET = ("add_to_dataset", "delete_from_dataset")


@dataclass(frozen=True, kw_only=True)
class BulkOperations:
    """Needs the store, the queue, and searches for what is found by how it looks."""

    db: Database
    queue: Queue
    searches: Searches

    def post(
        self, ref: AppRef, user_id: str, orders: Sequence[resources_pb2.BulkOperation]
    ) -> list[resources_pb2.BulkOperation]:
        """Asks for operations, all or none; the same one again under its id changes nothing.

        Raises InvalidRequest (25404), NotFound for data sets, Duplicate for another operation of that id.
        """
        if not 1 <= len(orders) <= MAX_OPERATIONS:
            raise _invalid(f"A request asks for 1 to {MAX_OPERATIONS} bulk operations; this one has {len(orders)}.")
        found = [self._ranked(ref, order) for order in orders]
        with self.db.write() as tx:
            made = []
            for order, input_ids in zip(orders, found, strict=True):
                operation = _new(tx, ref, user_id, order)
                made.append(self._asked(tx, ref, operation, input_ids))
        return made

    def _asked(
        self, tx: Connection, ref: AppRef, operation: resources_pb2.BulkOperation, input_ids: Sequence[str]
    ) -> resources_pb2.BulkOperation:
        present = rows.get(tx, ref, operation.id)
        if present is None:
            rows.insert(tx, ref, operation)
            start(tx, self.queue, ref, operation.id, input_ids)
            return operation
        if _order_in(present.message) != _order_in(operation):
            raise Duplicate(f"Bulk operation {operation.id!r} already exists and does something else.")
        return present.message

    def _ranked(self, ref: AppRef, order: resources_pb2.BulkOperation) -> list[str]:
        """Ids of the inputs that a ranked search finds now; none for any other source."""
        search = order.search
        if not order.HasField("search") or not [*search.query.ranks, *legacy_ranks(search.query.ands)]:
            return []
        if not search.min_value:
            raise _invalid("A search with ranks needs min_value: without it, it finds every input of the app.")
        ids: list[str] = []
        page = 1
        while hits := self.searches.run(ref, search, Paging(page, 1000), "inputs"):
            ids += [hit.input.id for hit in hits]
            page += 1
            if len(ids) > MAX_INPUT_IDS:
                raise _invalid(f"The search finds more than {MAX_INPUT_IDS:,} inputs; raise its min_value.")
        return ids or [""]  # no input has this id: it found none, and that is no reason to take all

    def get(self, ref: AppRef, operation_id: str) -> resources_pb2.BulkOperation:
        """One operation. Raises NotFound."""
        with self.db.read() as tx:
            return _found(tx, ref, operation_id).message

    def list_of(self, ref: AppRef, paging: Paging) -> list[resources_pb2.BulkOperation]:
        """A page of the app's operations, newest first."""
        with self.db.read() as tx:
            return [stored.message for stored in rows.page(tx, ref, page=paging.page, per_page=paging.per_page)]

    def cancel(self, ref: AppRef, ids: Sequence[str]) -> list[resources_pb2.BulkOperation]:
        """Stops operations, all or none; what they changed stays. One that has ended stays as it ended.

        Raises NotFound. No ids: none is cancelled.
        """
        with self.db.write() as tx:
            found = [_found(tx, ref, operation_id).message for operation_id in ids]
            for operation in found:
                self.queue.cancel(tx, subject(ref, operation.id))
                if operation.status.code in _OPEN:
                    operation.status.CopyFrom(status(CANCELLED, "Cancelled; what it had changed stays changed."))
                    rows.update(tx, ref, operation)
        return found

    def delete(self, ref: AppRef, ids: Sequence[str]) -> int:
        """Forgets operations, stopping those that run; what they changed stays. No ids: none is deleted."""
        with self.db.write() as tx:
            for operation_id in ids:
                self.queue.cancel(tx, subject(ref, operation_id))
            return rows.delete(tx, ref, ids)


def subject(ref: AppRef, operation_id: str) -> str:
    """The queue's name for an operation."""
    return f"{ref.user_id}/{ref.app_id}/+bulk/{operation_id}"


def start(tx: Connection, queue: Queue, ref: AppRef, operation_id: str, input_ids: Sequence[str]) -> None:
    """Queues the work, or the rest of it."""
    payload = {"user_id": ref.user_id, "app_id": ref.app_id, "operation_id": operation_id, "input_ids": list(input_ids)}
    queue.add(tx, KIND, payload, subject(ref, operation_id))


def _new(tx: Connection, ref: AppRef, user_id: str, order: resources_pb2.BulkOperation) -> resources_pb2.BulkOperation:
    """The operation as its row begins. Raises InvalidRequest or NotFound for what cannot be done."""
    made = resources_pb2.BulkOperation()
    made.CopyFrom(_order_in(order))
    made.id = checked_id(order.id, "Bulk operation") if order.id else new_id()
    made.app_id, made.created_by = ref.app_id, user_id
    made.created_at.CopyFrom(now())
    made.status.CopyFrom(status(PENDING))
    try:
        _check_source(tx, ref, made)
        _check_operation(tx, ref, made.operation)
    except NotFound:
        raise
    except LehrError as error:
        raise _invalid(error.details) from error
    return made


def _order_in(operation: resources_pb2.BulkOperation) -> resources_pb2.BulkOperation:
    """What is to be done, and to what: the fields that clients set."""
    kept = resources_pb2.BulkOperation()
    kept.CopyFrom(operation)
    for name in ("id", "app_id", "status", "progress", "created_by", "created_at", "last_modified_at"):
        kept.ClearField(name)
    return kept


def _check_source(tx: Connection, ref: AppRef, order: resources_pb2.BulkOperation) -> None:
    source, notes = order.WhichOneof("input_source"), order.WhichOneof("annotation_source")
    deletes = order.operation.WhichOneof("annotation_operation") is not None
    if deletes != (notes is not None) or deletes == (source is not None):
        raise _invalid(
            "A bulk operation on inputs needs input_ids, search or dataset; delete_annotations annotation_search. "
            f"This one is {_name(order.operation) or 'none'} on {source or notes or 'nothing'}."
        )
    if source == "input_ids" and not 1 <= len(order.input_ids.input_ids) <= MAX_INPUT_IDS:
        raise _invalid(
            f"A bulk operation names 1 to {MAX_INPUT_IDS:,} inputs; this one names {len(order.input_ids.input_ids)}. "
            "Put them into a dataset, or find them by a search."
        )
    if source == "dataset":
        _check_dataset(tx, ref, order.dataset.id)
    search = order.annotation_search if notes else order.search
    if notes and search.query.ranks:
        raise _invalid("annotation_search takes filters; ranks are not possible here.")
    asked = Filters(tx=tx, ref=ref).asked(search)
    if (notes or source == "search") and not asked.conditions and not search.query.ranks and not search.query.ands:
        raise _invalid("The search has no filter: it would find everything. Name what is meant.")


def _check_operation(tx: Connection, ref: AppRef, operation: resources_pb2.Operation) -> None:
    kind = _name(operation)
    if not kind:
        raise _invalid("A bulk operation needs an operation: add_concepts, add_metadata, add_to_dataset, …")
    if kind in _WITH_DATASET:
        _check_dataset(tx, ref, getattr(operation, kind).dataset_id)
    if kind in ("add_concepts", "delete_concepts"):
        _check_concepts(kind, getattr(operation, kind).concepts)
    if kind in ("add_metadata", "delete_metadata") and not getattr(operation, kind).metadata.fields:
        raise _invalid(f"{kind} needs metadata with at least one key.")
    if kind == "overwrite_geo" and not operation.overwrite_geo.geo.ListFields():
        raise _invalid("overwrite_geo needs geo; delete_geo takes it away.")
    if kind == "split_into_datasets":
        _check_splits(tx, ref, operation.split_into_datasets)


def _check_concepts(kind: str, concepts: Sequence[resources_pb2.Concept]) -> None:
    if not concepts:
        raise _invalid(f"{kind} needs concepts.")
    cleaned(resources_pb2.Data(concepts=concepts))


def _check_splits(tx: Connection, ref: AppRef, order: resources_pb2.SplitIntoDatasets) -> None:
    if order.method != resources_pb2.SplitIntoDatasets.RANDOM_PERCENTAGE_SPLIT:
        raise _invalid("split_into_datasets.method is RANDOM_PERCENTAGE_SPLIT (1); there is no other.")
    percentages = [part.percentage for part in order.dataset_splits]
    if not percentages or min(percentages) < 1 or sum(percentages) > 100:
        raise _invalid(f"Percentages are 1 to 100, and at most 100 together; given {percentages}.")
    for part in order.dataset_splits:
        _check_dataset(tx, ref, part.dataset.id)


def _check_dataset(tx: Connection, ref: AppRef, dataset_id: str) -> None:
    if dataset_rows.get(tx, ref, dataset_id) is None:
        raise NotFound(f"There is no dataset {dataset_id!r} in app {ref.app_id!r}.")


def _name(operation: resources_pb2.Operation) -> str:
    return operation.WhichOneof("operation") or operation.WhichOneof("annotation_operation") or ""


def _invalid(sentence: str) -> InvalidRequest:
    return InvalidRequest(sentence, code=INVALID)


def _found(tx: Connection, ref: AppRef, operation_id: str) -> StoredOperation:
    stored = rows.get(tx, ref, operation_id)
    if stored is None:
        raise NotFound(f"There is no bulk operation {operation_id!r} in app {ref.app_id!r}.")
    return stored
