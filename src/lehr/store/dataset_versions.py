"""Versions of a data set: its inputs and their annotations, copied as they were, so that no later edit reaches them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, ScalarSelect, func, insert, literal, select

from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store import datasets, tables
from lehr.store.rows import Noun, app_key

__all__ = ["Narrowing", "count_inputs", "delete", "freeze", "get", "latest", "page", "update"]

table = tables.dataset_versions
_VERSIONS = Noun(
    table=table,
    message=resources_pb2.DatasetVersion,
    columns=lambda version: {"id": version.id},
    what="dataset version",
)


def _dataset(ref: AppRef, dataset_id: str) -> ColumnElement[bool]:
    known = tables.datasets.c
    found = select(known.key).where(known.app_key == app_key(ref), known.id == dataset_id)
    return table.c.dataset_key == found.scalar_subquery()


@dataclass(frozen=True, kw_only=True)
class Narrowing:
    """Which annotations a version holds, and whether inputs without any of these are left out."""

    noted: ColumnElement[bool]
    """On rows of `input_annotations`."""
    without_empty: bool


def freeze(
    tx: Connection, ref: AppRef, version: resources_pb2.DatasetVersion, narrowing: Narrowing | None = None
) -> None:
    """Inserts the version of `version.dataset_id` and copies what is in that now. Raises Duplicate, NotFound."""
    dataset_key = datasets.key_of(tx, ref, version.dataset_id)
    _VERSIONS.insert(tx, [version], dataset_key=dataset_key)
    where = (table.c.dataset_key == dataset_key, table.c.id == version.id)
    key = tx.execute(select(table.c.key).where(*where)).scalar_one()
    _copy(tx, key, dataset_key, narrowing)


def _copy(tx: Connection, version_key: int, dataset_key: int, narrowing: Narrowing | None) -> None:
    members, inputs, notes = tables.dataset_inputs.c, tables.inputs.c, tables.input_annotations.c
    version = literal(version_key).label("dataset_version_key")
    chosen = select(members.input_key).where(members.dataset_key == dataset_key)
    of_these = [notes.input_key.in_(chosen), *([narrowing.noted] if narrowing else [])]
    wanted = [inputs.key.in_(chosen)]
    if narrowing and narrowing.without_empty:
        wanted.append(inputs.key.in_(select(notes.input_key).where(*of_these)))
    fields: list[Any] = [version, inputs.key, inputs.id, inputs.status_code, inputs.content_sha, inputs.message]
    names = ["dataset_version_key", "input_key", "id", "status_code", "content_sha", "message"]
    copied = select(*fields).where(*wanted).order_by(inputs.key)
    tx.execute(insert(tables.frozen_inputs).from_select(names, copied))
    noted = select(version, notes.input_key, notes.message).where(*of_these).order_by(notes.key)
    tx.execute(insert(tables.frozen_annotations).from_select(["dataset_version_key", "input_key", "message"], noted))


def get(tx: Connection, ref: AppRef, dataset_id: str, version_id: str) -> resources_pb2.DatasetVersion | None:
    """The version of this id."""
    return _VERSIONS.first(tx, _dataset(ref, dataset_id), table.c.id == version_id)


def latest(tx: Connection, ref: AppRef, dataset_id: str) -> resources_pb2.DatasetVersion | None:
    """The newest version."""
    return next(iter(page(tx, ref, dataset_id, page=1, per_page=1)), None)


def page(
    tx: Connection, ref: AppRef, dataset_id: str, *, page: int, per_page: int
) -> list[resources_pb2.DatasetVersion]:
    """The data set's versions, newest first."""
    order = [table.c.key.desc()]
    return _VERSIONS.page(tx, _dataset(ref, dataset_id), page=page, per_page=per_page, order=order)


def update(tx: Connection, ref: AppRef, version: resources_pb2.DatasetVersion) -> None:
    """Writes the message; what is frozen stays as it is. Raises NotFound."""
    _VERSIONS.update(tx, version, _dataset(ref, version.dataset_id), table.c.id == version.id)


def delete(tx: Connection, ref: AppRef, dataset_id: str, ids: Iterable[str]) -> int:
    """Deletes those that exist, with their frozen content."""
    return _VERSIONS.delete(tx, _dataset(ref, dataset_id), table.c.id.in_(list(ids)))


def count_inputs(tx: Connection, ref: AppRef, dataset_id: str, version_id: str) -> int:
    """How many inputs are frozen in the version."""
    key: ScalarSelect[int] = (
        select(table.c.key).where(_dataset(ref, dataset_id), table.c.id == version_id).scalar_subquery()
    )
    query = select(func.count()).select_from(tables.frozen_inputs)
    return int(tx.execute(query.where(tables.frozen_inputs.c.dataset_version_key == key)).scalar_one())
