"""Workflows and their versions: made, read, changed, deleted. Running them is services/workflow_runs.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from lehr.errors import Duplicate, InvalidWorkflow, WorkflowNotFound
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import PUBLIC_APP, AppRef, checked_id, new_id
from lehr.protocol.patch import MERGE, OVERWRITE, checked_action, patched
from lehr.services.built_in_catalogue import BY_WORKFLOW_ID
from lehr.services.paging import MAX_PER_PAGE, Paging
from lehr.services.workflow_nodes import checked_nodes, without_renamed_models
from lehr.store import apps as app_rows
from lehr.store import workflows as workflow_rows
from lehr.store.db import Database
from lehr.store.times import micros, stamp

MAX_WORKFLOWS = 128
_OURS = ("created_at", "modified_at", "version", "is_starred", "star_count", "bookmark_origin")
"""What no client sets."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """How a list of workflows is sorted and what it is narrowed to."""

    like: str = ""
    """Words of id, description or notes."""
    by: str = "modified_at"
    """modified_at, created_at or id."""
    is_ascending: bool = False


@dataclass(frozen=True, kw_only=True)
class Workflows:
    """Needs only the store."""

    db: Database

    def create(
        self, ref: AppRef, wanted: Sequence[resources_pb2.Workflow], *, confined: bool = False
    ) -> list[resources_pb2.Workflow]:
        """Makes workflows with one version each, all or none.

        Raises InvalidWorkflow (with the name of the node that does not fit) or Duplicate. `confined`: asked for with a
        key of this one app, which may not use models of others.
        """
        if not 1 <= len(wanted) <= MAX_WORKFLOWS:
            raise InvalidWorkflow(f"A request makes 1 to {MAX_WORKFLOWS} workflows; this one has {len(wanted)}.")
        made = []
        with self.db.write() as tx:
            for order in wanted:
                workflow = _new(ref, order)
                if workflow_rows.get(tx, ref, workflow.id) is not None:
                    code = status_code_pb2.WORKFLOW_DUPLICATE
                    raise Duplicate(f"Workflow {workflow.id!r} already exists.", code=code)
                nodes = checked_nodes(tx, ref, order.nodes or order.version.nodes, confined=confined)
                version = _version(workflow, order.version.id, nodes)
                _show(workflow, version)
                workflow_rows.insert(tx, ref, [workflow])
                workflow_rows.add_version(tx, ref, version)
                made.append(workflow)
        return made

    def get(self, ref: AppRef, workflow_id: str) -> resources_pb2.Workflow:
        """The workflow with its newest version; built-in ones are found from every app. Raises WorkflowNotFound."""
        with self.db.read() as tx:
            return found_workflow(tx, ref, workflow_id)[1]

    def list_of(self, refs: Sequence[AppRef], paging: Paging, order: Order = Order()) -> list[resources_pb2.Workflow]:
        """A page of the workflows of these apps."""
        with self.db.read() as tx:
            found = [one for ref in refs for one in _all(tx, ref) if _is_like(one, order.like)]
        found.sort(key=_SORTED_BY[order.by], reverse=not order.is_ascending)
        start = (paging.page - 1) * paging.per_page
        return found[start : start + paging.per_page]

    def apps_of(self, user_id: str) -> list[AppRef]:
        """The apps whose workflows a list over all of a user's is of."""
        with self.db.read() as tx:
            number = app_rows.count(tx, user_id) or 1
            return [AppRef(user_id, app.id) for app in app_rows.page(tx, user_id, page=1, per_page=number)]

    def patch(
        self, ref: AppRef, changes: Sequence[resources_pb2.Workflow], action: str, *, confined: bool = False
    ) -> list[resources_pb2.Workflow]:
        """Changes workflows, all or none; other nodes make a new version. Raises WorkflowNotFound, InvalidWorkflow."""
        action = checked_action(action or MERGE)
        done = []
        with self.db.write() as tx:
            for change in changes:
                stored = _own(tx, ref, change.id)
                wanted = _changes(change)
                workflow = patched(without_renamed_models(stored, wanted), wanted, action)
                _keep_identity(workflow, stored)
                if list(workflow.nodes) != list(stored.nodes):
                    nodes = checked_nodes(tx, ref, workflow.nodes, confined=confined)
                    del workflow.nodes[:]
                    workflow.nodes.extend(nodes)
                if list(workflow.nodes) != list(stored.nodes):
                    version = _version(workflow, change.version.id, workflow.nodes)
                    workflow_rows.add_version(tx, ref, version)
                    _show(workflow, version)
                workflow_rows.update(tx, ref, workflow)
                done.append(workflow)
        return done

    def delete(self, ref: AppRef, ids: Sequence[str], *, everything: bool = False) -> None:
        """Deletes workflows with their versions. An empty list deletes nothing.

        Raises WorkflowNotFound for a single one that is not there, InvalidWorkflow for the app's default workflow.
        """
        with self.db.write() as tx:
            default = _default_of(tx, ref)
            if everything:
                ids = [workflow.id for workflow in _all(tx, ref) if workflow.id != default]
            if default in ids:
                raise InvalidWorkflow(f"{default!r} is the default workflow of app {ref.app_id!r}: set another first.")
            gone = workflow_rows.delete(tx, ref, ids)
        if len(ids) == 1 and not gone:
            raise _missing(ref, ids[0])

    def rename(self, ref: AppRef, pairs: Sequence[tuple[str, str]]) -> list[resources_pb2.Workflow]:
        """Gives workflows new ids (old, new), all or none. Raises WorkflowNotFound, Duplicate, InvalidWorkflow."""
        done = []
        with self.db.write() as tx:
            for old, new in pairs:
                _own(tx, ref, old)
                checked_id(new, "Workflow", refuse=InvalidWorkflow)
                if workflow_rows.get(tx, ref, new) is not None:
                    raise Duplicate(f"Workflow {new!r} already exists.", code=status_code_pb2.WORKFLOW_DUPLICATE)
                _check_not_default(tx, ref, old)
                workflow_rows.rename(tx, ref, old, new)
                done.append(found_workflow(tx, ref, new)[1])
        return done

    # -- versions ------------------------------------------------------------------------------------------------------

    def get_version(self, ref: AppRef, workflow_id: str, version_id: str) -> resources_pb2.WorkflowVersion:
        """One version. Raises WorkflowNotFound."""
        with self.db.read() as tx:
            owner, workflow = found_workflow(tx, ref, workflow_id)
            return found_version(tx, owner, workflow.id, version_id)

    def list_versions(self, ref: AppRef, workflow_id: str, paging: Paging) -> list[resources_pb2.WorkflowVersion]:
        """A page of a workflow's versions, newest first. Raises WorkflowNotFound."""
        with self.db.read() as tx:
            owner, workflow = found_workflow(tx, ref, workflow_id)
            return workflow_rows.page_versions(tx, owner, workflow.id, page=paging.page, per_page=paging.per_page)

    def patch_versions(
        self, ref: AppRef, workflow_id: str, changes: Sequence[resources_pb2.WorkflowVersion], action: str
    ) -> list[resources_pb2.WorkflowVersion]:
        """Changes description, metadata, licence, visibility, deprecation; what a version runs is history and stays."""
        action = checked_action(action or OVERWRITE)

        def change(
            stored: resources_pb2.WorkflowVersion, asked: resources_pb2.WorkflowVersion
        ) -> resources_pb2.WorkflowVersion:
            return patched(stored, _only_words(asked), action)

        return self._change_versions(ref, workflow_id, {asked.id: asked for asked in changes}, change)

    def set_visibility(self, ref: AppRef, workflow_id: str, version_ids: Sequence[str], *, is_public: bool) -> None:
        """Publishes versions, or takes that back. Raises WorkflowNotFound, InvalidWorkflow where none is named."""
        if not version_ids:
            raise InvalidWorkflow("Name the versions: `publications` is empty.")
        gettable = resources_pb2.Visibility.PUBLIC if is_public else resources_pb2.Visibility.PRIVATE
        asked = resources_pb2.WorkflowVersion(visibility=resources_pb2.Visibility(gettable=gettable))
        self._change_versions(
            ref, workflow_id, dict.fromkeys(version_ids, asked), lambda stored, new: patched(stored, new, OVERWRITE)
        )

    def _change_versions(
        self,
        ref: AppRef,
        workflow_id: str,
        asked: dict[str, resources_pb2.WorkflowVersion],
        change: Callable[[resources_pb2.WorkflowVersion, resources_pb2.WorkflowVersion], resources_pb2.WorkflowVersion],
    ) -> list[resources_pb2.WorkflowVersion]:
        done = []
        with self.db.write() as tx:
            workflow = _own(tx, ref, workflow_id)
            for version_id, wanted in asked.items():
                version = change(found_version(tx, ref, workflow_id, version_id), wanted)
                workflow_rows.update_version(tx, ref, version)
                done.append(version)
                if version.id == workflow.version.id:
                    _show(workflow, version)
                    workflow_rows.update(tx, ref, workflow)
        return done

    def delete_versions(self, ref: AppRef, workflow_id: str, version_ids: Sequence[str]) -> None:
        """Deletes versions; the newest that is left becomes the workflow's. No ids: nothing is deleted.

        Raises WorkflowNotFound, and InvalidWorkflow where no version would be left.
        """
        with self.db.write() as tx:
            workflow = _own(tx, ref, workflow_id)
            for version_id in version_ids:
                found_version(tx, ref, workflow_id, version_id)
            workflow_rows.delete_versions(tx, ref, workflow_id, version_ids)
            newest = workflow_rows.page_versions(tx, ref, workflow_id, page=1, per_page=1)
            if not newest:
                raise InvalidWorkflow(f"Workflow {workflow_id!r} must keep a version: delete the workflow instead.")
            _show(workflow, newest[0])
            workflow_rows.update(tx, ref, workflow)


def found_workflow(tx: Connection, ref: AppRef, workflow_id: str) -> tuple[AppRef, resources_pb2.Workflow]:
    """The workflow and the app that has it: the app itself, or where it has none of that id, the built-in one.

    Raises WorkflowNotFound.
    """
    owners = [ref, PUBLIC_APP] if workflow_id in BY_WORKFLOW_ID else [ref]
    for owner in owners:
        found = workflow_rows.get(tx, owner, workflow_id)
        if found is not None:
            return owner, found
    raise _missing(ref, workflow_id)


def found_version(tx: Connection, ref: AppRef, workflow_id: str, version_id: str) -> resources_pb2.WorkflowVersion:
    """The version. Raises WorkflowNotFound."""
    version = workflow_rows.get_version(tx, ref, workflow_id, version_id)
    if version is None:
        raise WorkflowNotFound(f"Workflow {workflow_id!r} has no version {version_id!r}.")
    return version


def _own(tx: Connection, ref: AppRef, workflow_id: str) -> resources_pb2.Workflow:
    workflow = workflow_rows.get(tx, ref, workflow_id)
    if workflow is None:
        raise _missing(ref, workflow_id)
    return workflow


def _missing(ref: AppRef, workflow_id: str) -> WorkflowNotFound:
    return WorkflowNotFound(f"There is no workflow {workflow_id!r} in app {ref.app_id!r}.")


def _new(ref: AppRef, order: resources_pb2.Workflow) -> resources_pb2.Workflow:
    workflow = _changes(order)
    workflow.id = checked_id(order.id, "Workflow", refuse=InvalidWorkflow) if order.id else new_id()
    workflow.app_id, workflow.user_id = ref.app_id, ref.user_id
    return workflow


def _changes(order: resources_pb2.Workflow) -> resources_pb2.Workflow:
    """What a client may say of a workflow."""
    workflow = resources_pb2.Workflow()
    workflow.CopyFrom(order)
    for name in _OURS:
        workflow.ClearField(name)
    workflow.image.ClearField("base64")
    if not workflow.image.ListFields():
        workflow.ClearField("image")
    return workflow


def _version(
    workflow: resources_pb2.Workflow, version_id: str, nodes: Sequence[resources_pb2.WorkflowNode]
) -> resources_pb2.WorkflowVersion:
    version = resources_pb2.WorkflowVersion(
        id=checked_id(version_id, "Workflow version", refuse=InvalidWorkflow) if version_id else new_id(),
        workflow_id=workflow.id,
        app_id=workflow.app_id,
        user_id=workflow.user_id,
        nodes=nodes,
        description=workflow.description,
    )
    for name in ("metadata", "visibility"):
        if workflow.HasField(name):
            getattr(version, name).CopyFrom(getattr(workflow, name))
    stamp(version)
    return version


def _show(workflow: resources_pb2.Workflow, version: resources_pb2.WorkflowVersion) -> None:
    """A workflow shows its newest version and its nodes."""
    del workflow.nodes[:]
    workflow.nodes.extend(version.nodes)
    workflow.version.CopyFrom(version)


def _keep_identity(workflow: resources_pb2.Workflow, stored: resources_pb2.Workflow) -> None:
    workflow.id, workflow.app_id, workflow.user_id = stored.id, stored.app_id, stored.user_id
    workflow.created_at.CopyFrom(stored.created_at)
    workflow.version.CopyFrom(stored.version)


def _only_words(asked: resources_pb2.WorkflowVersion) -> resources_pb2.WorkflowVersion:
    words = resources_pb2.WorkflowVersion()
    words.CopyFrom(asked)
    for name in ("nodes", "created_at", "modified_at", "workflow_id", "app_id", "user_id"):
        words.ClearField(name)
    return words


def _default_of(tx: Connection, ref: AppRef) -> str:
    """Id of the app's default workflow, if that is its own."""
    app = app_rows.get(tx, ref)
    if app is None:
        return ""
    named = app.default_workflow
    is_own = (named.user_id or ref.user_id, named.app_id or ref.app_id) == (ref.user_id, ref.app_id)
    return (named.id or app.default_workflow_id) if is_own else ""


def _check_not_default(tx: Connection, ref: AppRef, workflow_id: str) -> None:
    if _default_of(tx, ref) == workflow_id:
        raise InvalidWorkflow(f"{workflow_id!r} is the default workflow of app {ref.app_id!r}: set another first.")


def _all(tx: Connection, ref: AppRef) -> list[resources_pb2.Workflow]:
    found: list[resources_pb2.Workflow] = []
    page = 1
    while some := workflow_rows.page(tx, ref, page=page, per_page=MAX_PER_PAGE):
        found += some
        page += 1
    return found


def _is_like(workflow: resources_pb2.Workflow, like: str) -> bool:
    """Whether every word of `like` occurs."""
    text = f"{workflow.id} {workflow.description} {workflow.notes}".casefold()
    return all(word in text for word in like.casefold().replace("*", " ").split())


_SORTED_BY: dict[str, Callable[[resources_pb2.Workflow], int | str]] = {
    "modified_at": lambda workflow: micros(workflow.modified_at),
    "created_at": lambda workflow: micros(workflow.created_at),
    "id": lambda workflow: workflow.id,
}
