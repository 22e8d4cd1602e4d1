"""Models: what a version is a version of. A stored model carries no version: `versions.latest` finds that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, func, or_, select

from lehr.errors import ModelNotFound
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.store.rows import Noun, app_key, app_key_of, is_like
from lehr.store.tables import apps, model_versions
from lehr.store.tables import models as table
from lehr.store.times import micros

__all__ = [
    "ModelFilter",
    "count",
    "count_of_user",
    "delete",
    "get",
    "insert",
    "key_of",
    "page",
    "page_of_user",
    "touch",
    "update",
]


@dataclass(frozen=True, kw_only=True)
class ModelFilter:
    """Which models; an empty field means any. `query` is looked for in ids and names, whatever the case.

    `pattern` is all of an id or name, whatever the case, where `*` stands for anything.
    """

    model_type_id: str = ""
    name: str = ""
    trained_only: bool = False
    query: str = ""
    pattern: str = ""


def _columns(model: resources_pb2.Model) -> dict[str, Any]:
    return {
        "id": model.id,
        "name": model.name,
        "model_type_id": model.model_type_id,
        "modified_at": micros(model.modified_at),
    }


_MODELS = Noun(table=table, message=resources_pb2.Model, columns=_columns, what="model")
_NEWEST_FIRST = (table.c.modified_at.desc(), table.c.key.desc())


def _is(ref: AppRef, model_id: str) -> tuple[ColumnElement[bool], ...]:
    return table.c.app_key == app_key(ref), table.c.id == model_id


def key_of(tx: Connection, ref: AppRef, model_id: str) -> int:
    """The model's key, for inserting below it. Raises ModelNotFound."""
    key = tx.execute(select(table.c.key).where(*_is(ref, model_id))).scalar()
    if key is None:
        raise ModelNotFound(f"Model does not exist: there is no model {model_id!r} in app {ref.app_id!r}")
    return int(key)


def insert(tx: Connection, ref: AppRef, models: Sequence[resources_pb2.Model]) -> None:
    """All or none. Raises Duplicate."""
    _MODELS.insert(tx, models, app_key=app_key_of(tx, ref))


def get(tx: Connection, ref: AppRef, model_id: str) -> resources_pb2.Model | None:
    """The model of this id."""
    return _MODELS.first(tx, *_is(ref, model_id))


def _matches(filters: ModelFilter) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = []
    if filters.model_type_id:
        where.append(table.c.model_type_id == filters.model_type_id)
    if filters.name:
        where.append(table.c.name == filters.name)
    if filters.query:
        words = filters.query.lower()
        where.append(
            or_(*(func.lower(column).contains(words, autoescape=True) for column in (table.c.id, table.c.name)))
        )
    if filters.pattern:
        where.append(is_like(filters.pattern, table.c.id, table.c.name))
    if filters.trained_only:
        versions = model_versions.c
        trained = versions.status_code == status_code_pb2.MODEL_TRAINED
        where.append(exists().where(versions.model_key == table.c.key, trained))
    return where


def page(
    tx: Connection, ref: AppRef, *, page: int, per_page: int, filters: ModelFilter = ModelFilter()
) -> list[resources_pb2.Model]:
    """The app's models, the last modified first."""
    where = [table.c.app_key == app_key(ref), *_matches(filters)]
    return _MODELS.page(tx, *where, page=page, per_page=per_page, order=_NEWEST_FIRST)


def page_of_user(
    tx: Connection, user_id: str, *, page: int, per_page: int, filters: ModelFilter = ModelFilter()
) -> list[resources_pb2.Model]:
    """The models of all the user's apps, the last modified first."""
    where = [_of_user(user_id), *_matches(filters)]
    return _MODELS.page(tx, *where, page=page, per_page=per_page, order=_NEWEST_FIRST)


def _of_user(user_id: str) -> ColumnElement[bool]:
    return table.c.app_key.in_(select(apps.c.key).where(apps.c.user_id == user_id))


def count(tx: Connection, ref: AppRef, filters: ModelFilter = ModelFilter()) -> int:
    """How many models `page` runs over."""
    return _MODELS.count(tx, table.c.app_key == app_key(ref), *_matches(filters))


def count_of_user(tx: Connection, user_id: str, filters: ModelFilter = ModelFilter()) -> int:
    """How many models `page_of_user` runs over."""
    return _MODELS.count(tx, _of_user(user_id), *_matches(filters))


def update(tx: Connection, ref: AppRef, model: resources_pb2.Model) -> None:
    """Writes the whole message. Raises NotFound."""
    _MODELS.update(tx, model, *_is(ref, model.id))


def touch(tx: Connection, ref: AppRef, model_id: str) -> None:
    """Makes the model the last modified one; nothing happens if it is gone."""
    model = get(tx, ref, model_id)
    if model is not None:
        update(tx, ref, model)


def delete(tx: Connection, ref: AppRef, ids: Iterable[str]) -> int:
    """Deletes those that exist, with their versions and everything below. Their jobs are the queue's to cancel."""
    return _MODELS.delete(tx, table.c.app_key == app_key(ref), table.c.id.in_(list(ids)))
