"""Workflows and their versions: graphs of models. A stored workflow carries its newest version's nodes itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, ScalarSelect, select

from lehr.errors import WorkflowNotFound
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store.rows import Noun, app_key, app_key_of
from lehr.store.tables import workflow_versions
from lehr.store.tables import workflows as table

__all__ = [
    "add_version",
    "count",
    "delete",
    "delete_versions",
    "get",
    "get_version",
    "insert",
    "page",
    "page_versions",
    "rename",
    "update",
    "update_version",
]

_WORKFLOWS = Noun(table=table, message=resources_pb2.Workflow, columns=lambda one: {"id": one.id}, what="workflow")
_VERSIONS = Noun(
    table=workflow_versions,
    message=resources_pb2.WorkflowVersion,
    columns=lambda one: {"id": one.id},
    what="workflow version",
)


def _is(ref: AppRef, workflow_id: str) -> tuple[ColumnElement[bool], ...]:
    return table.c.app_key == app_key(ref), table.c.id == workflow_id


def _key(ref: AppRef, workflow_id: str) -> ScalarSelect[Any]:
    return select(table.c.key).where(*_is(ref, workflow_id)).scalar_subquery()


def insert(tx: Connection, ref: AppRef, workflows: Sequence[resources_pb2.Workflow]) -> None:
    """All or none. Raises Duplicate."""
    _WORKFLOWS.insert(tx, workflows, app_key=app_key_of(tx, ref))


def get(tx: Connection, ref: AppRef, workflow_id: str) -> resources_pb2.Workflow | None:
    """The workflow of this id."""
    return _WORKFLOWS.first(tx, *_is(ref, workflow_id))


def page(tx: Connection, ref: AppRef, *, page: int, per_page: int) -> list[resources_pb2.Workflow]:
    """The app's workflows, newest first."""
    in_app = table.c.app_key == app_key(ref)
    return _WORKFLOWS.page(tx, in_app, page=page, per_page=per_page, order=[table.c.key.desc()])


def count(tx: Connection, ref: AppRef) -> int:
    """How many workflows the app has."""
    return _WORKFLOWS.count(tx, table.c.app_key == app_key(ref))


def rename(tx: Connection, ref: AppRef, old: str, new: str) -> None:
    """Gives a workflow another id, in its versions too. Raises NotFound."""
    workflow = _WORKFLOWS.first(tx, *_is(ref, old))
    if workflow is None:
        raise WorkflowNotFound(f"there is no workflow {old!r} in app {ref.app_id!r}")
    for version in _VERSIONS.page(tx, workflow_versions.c.workflow_key == _key(ref, old), page=1, per_page=1 << 31):
        version.workflow_id = new
        _VERSIONS.update(tx, version, *_is_version(ref, old, version.id))
    workflow.id = workflow.version.workflow_id = new
    _WORKFLOWS.update(tx, workflow, *_is(ref, old))


def update(tx: Connection, ref: AppRef, workflow: resources_pb2.Workflow) -> None:
    """Writes the whole message. Raises NotFound."""
    _WORKFLOWS.update(tx, workflow, *_is(ref, workflow.id))


def delete(tx: Connection, ref: AppRef, ids: Iterable[str]) -> int:
    """Deletes those that exist, with their versions."""
    return _WORKFLOWS.delete(tx, table.c.app_key == app_key(ref), table.c.id.in_(list(ids)))


def add_version(tx: Connection, ref: AppRef, version: resources_pb2.WorkflowVersion) -> None:
    """Adds to `version.workflow_id`. Raises Duplicate, WorkflowNotFound."""
    key = tx.execute(select(_key(ref, version.workflow_id))).scalar()
    if key is None:
        raise WorkflowNotFound(f"there is no workflow {version.workflow_id!r} in app {ref.app_id!r}")
    _VERSIONS.insert(tx, [version], workflow_key=key)


def _is_version(ref: AppRef, workflow_id: str, version_id: str) -> tuple[ColumnElement[bool], ...]:
    versions = workflow_versions.c
    return versions.workflow_key == _key(ref, workflow_id), versions.id == version_id


def get_version(tx: Connection, ref: AppRef, workflow_id: str, version_id: str) -> resources_pb2.WorkflowVersion | None:
    """The version of this id."""
    return _VERSIONS.first(tx, *_is_version(ref, workflow_id, version_id))


def page_versions(
    tx: Connection, ref: AppRef, workflow_id: str, *, page: int, per_page: int
) -> list[resources_pb2.WorkflowVersion]:
    """The workflow's versions, newest first."""
    versions = workflow_versions.c
    of_it = versions.workflow_key == _key(ref, workflow_id)
    return _VERSIONS.page(tx, of_it, page=page, per_page=per_page, order=[versions.key.desc()])


def update_version(tx: Connection, ref: AppRef, version: resources_pb2.WorkflowVersion) -> None:
    """Writes the whole message. Raises NotFound."""
    _VERSIONS.update(tx, version, *_is_version(ref, version.workflow_id, version.id))


def delete_versions(tx: Connection, ref: AppRef, workflow_id: str, ids: Iterable[str]) -> int:
    """Deletes those that exist."""
    versions = workflow_versions.c
    return _VERSIONS.delete(tx, versions.workflow_key == _key(ref, workflow_id), versions.id.in_(list(ids)))
