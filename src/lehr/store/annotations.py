"""Annotations: what is known of an input, or of regions and frames of it. Ids are unique within their input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, or_, select

from lehr.errors import NotFound
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store import backlog, facts
from lehr.store.rows import Noun, app_key, app_key_of, paged
from lehr.store.tables import input_annotations as table
from lehr.store.tables import inputs
from lehr.store.times import stamp

__all__ = ["AnnotationFilter", "count", "delete", "get", "insert", "of_inputs", "page", "update", "workers"]


@dataclass(frozen=True, kw_only=True)
class AnnotationFilter:
    """Which annotations; an empty field means any."""

    ids: tuple[str, ...] = ()
    input_ids: tuple[str, ...] = ()
    user_ids: tuple[str, ...] = ()
    """Of people; beside model or workflow versions: what any of these workers made."""
    model_version_ids: tuple[str, ...] = ()
    workflow_version_ids: tuple[str, ...] = ()
    people_only: bool = False
    """Nothing that a model or a workflow made."""
    statuses: tuple[int, ...] = ()
    task_id: str = ""


def _columns(message: resources_pb2.Annotation) -> dict[str, Any]:
    return {
        "id": message.id,
        "user_id": message.user_id,
        "model_version_id": message.model_version_id,
        "workflow_version_id": message.worker.workflow.version.id,
        "task_id": message.task_id,
        "status_code": message.status.code,
        **facts.annotation_columns(message),
    }


_ANNOTATIONS = Noun(table=table, message=resources_pb2.Annotation, columns=_columns, what="annotation")


def insert(tx: Connection, ref: AppRef, annotations: Sequence[resources_pb2.Annotation]) -> None:
    """All or none. Raises Duplicate, and NotFound for an unknown input."""
    owner = app_key_of(tx, ref)
    input_keys = _input_keys(tx, ref, {message.input_id for message in annotations})
    rows = []
    for message in annotations:
        stamp(message)
        input_key = input_keys.get(message.input_id)
        if input_key is None:
            raise NotFound(f"annotation {message.id!r} is of input {message.input_id!r}, which does not exist")
        rows.append({"app_key": owner, "input_key": input_key, **_ANNOTATIONS.row(message)})
    _ANNOTATIONS.insert_rows(tx, rows)
    _note(tx, owner, input_keys, annotations, are_new=True)


def _note(
    tx: Connection,
    app: int,
    input_keys: Mapping[str, int],
    annotations: Sequence[resources_pb2.Annotation],
    *,
    are_new: bool,
) -> None:
    """What searches look up of them (see store/facts.py), and what is to be embedded of them."""
    for start in range(0, len(annotations), 500):
        some = {(input_keys[each.input_id], each.id): each for each in annotations[start : start + 500]}
        owners = {input_key for input_key, _ in some}
        query = select(table.c.key, table.c.input_key, table.c.id).where(table.c.input_key.in_(owners))
        query = query.where(table.c.id.in_({id_ for _, id_ in some}))
        noted = [
            facts.NotedAnnotation(key=row.key, input_key=row.input_key, message=some[row.input_key, row.id])
            for row in tx.execute(query)
            if (row.input_key, row.id) in some
        ]
        facts.note_annotations(tx, app, noted, are_new=are_new)
        backlog.note_annotations(tx, app, noted)


def _input_keys(tx: Connection, ref: AppRef, ids: Iterable[str]) -> dict[str, int]:
    query = select(inputs.c.id, inputs.c.key).where(inputs.c.app_key == app_key(ref), inputs.c.id.in_(list(ids)))
    return {row.id: row.key for row in tx.execute(query)}


def _of(ref: AppRef, input_ids: Iterable[str]) -> ColumnElement[bool]:
    keys = select(inputs.c.key).where(inputs.c.app_key == app_key(ref), inputs.c.id.in_(list(input_ids)))
    return table.c.input_key.in_(keys)


def _is(ref: AppRef, input_id: str, annotation_id: str) -> tuple[ColumnElement[bool], ...]:
    return _of(ref, [input_id]), table.c.id == annotation_id


def get(tx: Connection, ref: AppRef, input_id: str, annotation_id: str) -> resources_pb2.Annotation | None:
    """The annotation of this id on this input."""
    return _ANNOTATIONS.first(tx, *_is(ref, input_id, annotation_id))


def _matches(ref: AppRef, filters: AnnotationFilter) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = [table.c.app_key == app_key(ref)]
    if filters.input_ids or filters.ids:
        where.append(table.c.key.in_(_chosen(ref, filters)))
    if workers := _made_by(filters):
        where.append(or_(*workers))
    if filters.people_only:
        where.append(_BY_PEOPLE)
    if filters.statuses:
        where.append(table.c.status_code.in_(filters.statuses))
    if filters.task_id:
        where.append(table.c.task_id == filters.task_id)
    return where


_BY_PEOPLE = and_(table.c.model_version_id == "", table.c.workflow_version_id == "")


def _made_by(filters: AnnotationFilter) -> list[ColumnElement[bool]]:
    """One condition for each kind of worker that is named; any of them will do."""
    conditions: list[ColumnElement[bool]] = []
    if filters.user_ids:
        conditions.append(and_(_BY_PEOPLE, table.c.user_id.in_(filters.user_ids)))
    if filters.model_version_ids:
        conditions.append(table.c.model_version_id.in_(filters.model_version_ids))
    if filters.workflow_version_ids:
        conditions.append(table.c.workflow_version_id.in_(filters.workflow_version_ids))
    return conditions


def workers(
    tx: Connection, ref: AppRef, *, people_only: bool = False, page: int, per_page: int
) -> list[tuple[str, str, str]]:
    """(user, model version, workflow version) of everybody who annotated in the app: one of the three. People first."""
    workflow = table.c.workflow_version_id
    model = case((workflow == "", table.c.model_version_id), else_="").label("model")
    user = case((_BY_PEOPLE, table.c.user_id), else_="").label("person")
    query = select(user, model, workflow).where(table.c.app_key == app_key(ref))
    if people_only:
        query = query.where(_BY_PEOPLE)
    found = tx.execute(paged(query.distinct().order_by(workflow, model, user), page, per_page))
    return [(row.person, row.model, row.workflow_version_id) for row in found]


def _chosen(ref: AppRef, filters: AnnotationFilter) -> Select[Any]:
    """Keys found by the index of their ids or inputs: SQLite would else walk the whole app in order of key."""
    same = table.alias()
    keys = select(same.c.key)
    if filters.ids:
        keys = keys.where(same.c.id.in_(filters.ids))
    if filters.input_ids:  # their keys imply the app
        of_them = select(inputs.c.key).where(inputs.c.app_key == app_key(ref), inputs.c.id.in_(filters.input_ids))
        return keys.where(same.c.input_key.in_(of_them))
    return keys.where(same.c.app_key == app_key(ref))


def page(
    tx: Connection, ref: AppRef, *, page: int, per_page: int, filters: AnnotationFilter = AnnotationFilter()
) -> list[resources_pb2.Annotation]:
    """The app's annotations, oldest first."""
    return _ANNOTATIONS.page(tx, *_matches(ref, filters), page=page, per_page=per_page)


def count(tx: Connection, ref: AppRef, filters: AnnotationFilter = AnnotationFilter()) -> int:
    """How many annotations `page` runs over."""
    return _ANNOTATIONS.count(tx, *_matches(ref, filters))


def of_inputs(tx: Connection, ref: AppRef, input_ids: Iterable[str]) -> dict[str, list[resources_pb2.Annotation]]:
    """Input id → its annotations, oldest first; every asked id has an entry."""
    found: dict[str, list[resources_pb2.Annotation]] = {input_id: [] for input_id in input_ids}
    query = select(inputs.c.id, table.c.message).join(inputs, inputs.c.key == table.c.input_key)
    query = query.where(inputs.c.app_key == app_key(ref), inputs.c.id.in_(list(found))).order_by(table.c.key)
    for row in tx.execute(query):
        found[row.id].append(_ANNOTATIONS.parse(row.message))
    return found


def update(tx: Connection, ref: AppRef, annotations: Sequence[resources_pb2.Annotation]) -> None:
    """Writes the whole messages. Raises NotFound."""
    for message in annotations:
        _ANNOTATIONS.update(tx, message, *_is(ref, message.input_id, message.id))
    if annotations:
        input_keys = _input_keys(tx, ref, {message.input_id for message in annotations})
        _note(tx, app_key_of(tx, ref), input_keys, annotations, are_new=False)


def delete(tx: Connection, ref: AppRef, *, input_ids: Sequence[str] = (), ids: Sequence[str] = ()) -> int:
    """These ids, within the named inputs if any; without ids, all annotations of the inputs; without either, none."""
    if not input_ids and not ids:
        return 0
    return _ANNOTATIONS.delete(tx, *_matches(ref, AnnotationFilter(ids=tuple(ids), input_ids=tuple(input_ids))))
