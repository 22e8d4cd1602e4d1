"""Data sets: named selections of an app's inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, ScalarSelect, Select, func, literal, select
from sqlalchemy import delete as sql_delete

from lehr.errors import NotFound
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store.rows import Noun, app_key, app_key_of, insert_new, paged
from lehr.store.tables import dataset_inputs, inputs
from lehr.store.tables import datasets as table
from lehr.store.times import micros, now, timestamp

__all__ = [
    "add_found",
    "add_inputs",
    "count",
    "count_inputs",
    "delete",
    "get",
    "get_input",
    "input_ids_in",
    "insert",
    "key_of",
    "of_input",
    "page",
    "page_inputs",
    "remove_inputs",
    "update",
]

_DATASETS = Noun(table=table, message=resources_pb2.Dataset, columns=lambda dataset: {"id": dataset.id}, what="dataset")


def _is(ref: AppRef, dataset_id: str) -> tuple[ColumnElement[bool], ...]:
    return table.c.app_key == app_key(ref), table.c.id == dataset_id


def _key(ref: AppRef, dataset_id: str) -> ScalarSelect[int]:
    return select(table.c.key).where(*_is(ref, dataset_id)).scalar_subquery()


def key_of(tx: Connection, ref: AppRef, dataset_id: str) -> int:
    """The data set's key, for inserting below it. Raises NotFound."""
    key = tx.execute(select(table.c.key).where(*_is(ref, dataset_id))).scalar()
    if key is None:
        raise NotFound(f"there is no dataset {dataset_id!r} in app {ref.app_id!r}")
    return int(key)


def insert(tx: Connection, ref: AppRef, datasets: Sequence[resources_pb2.Dataset]) -> None:
    """All or none. Raises Duplicate."""
    _DATASETS.insert(tx, datasets, app_key=app_key_of(tx, ref))


def get(tx: Connection, ref: AppRef, dataset_id: str) -> resources_pb2.Dataset | None:
    """The data set of this id."""
    return _DATASETS.first(tx, *_is(ref, dataset_id))


def page(tx: Connection, ref: AppRef, *, page: int, per_page: int) -> list[resources_pb2.Dataset]:
    """The app's data sets, newest first."""
    in_app = table.c.app_key == app_key(ref)
    return _DATASETS.page(tx, in_app, page=page, per_page=per_page, order=[table.c.key.desc()])


def count(tx: Connection, ref: AppRef) -> int:
    """How many data sets the app has."""
    return _DATASETS.count(tx, table.c.app_key == app_key(ref))


def update(tx: Connection, ref: AppRef, datasets: Sequence[resources_pb2.Dataset]) -> None:
    """Writes the whole messages. Raises NotFound."""
    for message in datasets:
        _DATASETS.update(tx, message, *_is(ref, message.id))


def delete(tx: Connection, ref: AppRef, ids: Iterable[str]) -> int:
    """Deletes those that exist, with their versions; the inputs stay."""
    return _DATASETS.delete(tx, table.c.app_key == app_key(ref), table.c.id.in_(list(ids)))


def add_inputs(tx: Connection, ref: AppRef, dataset_id: str, input_ids: Iterable[str]) -> list[str]:
    """Puts inputs into the data set; answers which of them are new to it. Raises NotFound, naming the unknown ones."""
    wanted = list(dict.fromkeys(input_ids))
    dataset_key = key_of(tx, ref, dataset_id)
    query = select(inputs.c.id, inputs.c.key).where(inputs.c.app_key == app_key(ref), inputs.c.id.in_(wanted))
    keys = {row.id: row.key for row in tx.execute(query)}
    unknown = [input_id for input_id in wanted if input_id not in keys]
    if unknown:
        raise NotFound(f"there is no input {', '.join(map(repr, unknown[:5]))} in app {ref.app_id!r}")
    present = input_ids_in(tx, ref, dataset_id, wanted)
    added = [input_id for input_id in wanted if input_id not in present]
    moment = micros(now())
    rows = [{"dataset_key": dataset_key, "input_key": keys[id_], "created_at": moment} for id_ in added]
    if rows:
        # another transaction may have added the same input since we looked
        tx.execute(insert_new(tx, dataset_inputs), rows)
    return added


def add_found(tx: Connection, ref: AppRef, dataset_id: str, found: Select[Any]) -> int:
    """Puts in the inputs whose keys a query finds, in its order; answers how many are new. Raises NotFound."""
    dataset_key = key_of(tx, ref, dataset_id)
    members = dataset_inputs.c
    present = select(members.input_key).where(members.dataset_key == dataset_key)
    before = tx.execute(select(func.count()).select_from(present.subquery())).scalar_one()
    [chosen] = found.selected_columns
    fields: list[Any] = [literal(dataset_key), chosen, literal(micros(now()), BigInteger)]
    rows = found.with_only_columns(*fields).where(chosen.not_in(present))
    statement = insert_new(tx, dataset_inputs).from_select(["dataset_key", "input_key", "created_at"], rows)
    tx.execute(statement)
    return int(tx.execute(select(func.count()).select_from(present.subquery())).scalar_one()) - int(before)


def remove_inputs(tx: Connection, ref: AppRef, dataset_id: str, input_ids: Iterable[str]) -> int:
    """Takes inputs out of the data set; they stay in the app."""
    keys = select(inputs.c.key).where(inputs.c.app_key == app_key(ref), inputs.c.id.in_(list(input_ids)))
    members = dataset_inputs.c
    where = (members.dataset_key == _key(ref, dataset_id), members.input_key.in_(keys))
    return tx.execute(sql_delete(dataset_inputs).where(*where)).rowcount


def input_ids_in(tx: Connection, ref: AppRef, dataset_id: str, input_ids: Iterable[str]) -> frozenset[str]:
    """Which of these inputs are in the data set."""
    members = dataset_inputs.c
    query = select(inputs.c.id).join(dataset_inputs, members.input_key == inputs.c.key)
    query = query.where(members.dataset_key == _key(ref, dataset_id), inputs.c.id.in_(list(input_ids)))
    return frozenset(tx.execute(query).scalars())


def page_inputs(
    tx: Connection, ref: AppRef, dataset_id: str, *, page: int, per_page: int
) -> list[resources_pb2.DatasetInput]:
    """The data set's inputs with the moment each was put in, the first put in first."""
    members = dataset_inputs.c
    keys = select(members.key).where(members.dataset_key == _key(ref, dataset_id)).order_by(members.key)
    query = select(members.created_at, inputs.c.message).join(inputs, inputs.c.key == members.input_key)
    query = query.where(members.key.in_(paged(keys, page, per_page))).order_by(members.key)
    return [_member(row) for row in tx.execute(query)]


def get_input(tx: Connection, ref: AppRef, dataset_id: str, input_id: str) -> resources_pb2.DatasetInput | None:
    """One input of the data set, with the moment it was put in."""
    members = dataset_inputs.c
    query = select(members.created_at, inputs.c.message).join(inputs, inputs.c.key == members.input_key)
    row = tx.execute(query.where(members.dataset_key == _key(ref, dataset_id), inputs.c.id == input_id)).first()
    return None if row is None else _member(row)


def _member(row: Any) -> resources_pb2.DatasetInput:
    item = resources_pb2.DatasetInput(created_at=timestamp(row.created_at))
    item.input.MergeFromString(row.message)
    return item


def count_inputs(tx: Connection, ref: AppRef, dataset_id: str) -> int:
    """How many inputs the data set has."""
    query = select(func.count()).select_from(dataset_inputs)
    return int(tx.execute(query.where(dataset_inputs.c.dataset_key == _key(ref, dataset_id))).scalar_one())


def of_input(tx: Connection, ref: AppRef, input_id: str) -> list[str]:
    """The ids of the data sets that an input is in."""
    input_key = select(inputs.c.key).where(inputs.c.app_key == app_key(ref), inputs.c.id == input_id).scalar_subquery()
    query = select(table.c.id).join(dataset_inputs, dataset_inputs.c.dataset_key == table.c.key)
    return list(tx.execute(query.where(dataset_inputs.c.input_key == input_key).order_by(table.c.key)).scalars())
