"""An app's base workflow is changed, and its index built anew beside the one that answers. indexing.py builds.

The app's default workflow changes at once; searches go on answering from the old generation, embedder and all, until
the new one is complete.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from lehr.errors import InvalidRequest, InvalidWorkflow, NotFound, Untrained
from lehr.jobs.queue import Queue
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import PUBLIC_APP, AppRef, checked_id, new_id
from lehr.protocol.patch import MERGE, checked_action, patched
from lehr.services import indexing
from lehr.services.base_workflow import default_workflow, embedder_of, workflow_of
from lehr.services.located import version_of
from lehr.services.workflow_nodes import check_owner, without_renamed_models
from lehr.store import apps as app_rows
from lehr.store import backlog
from lehr.store import embeddings as rows
from lehr.store import models as model_rows
from lehr.store import versions as version_rows
from lehr.store import workflows as workflow_rows
from lehr.store.db import Database
from lehr.store.embeddings import Generation, State
from lehr.store.versions import ModelVersionRef

MAX_NODES = 64


@dataclass(frozen=True, kw_only=True)
class BaseWorkflows:
    """Needs the store and the queue."""

    db: Database
    queue: Queue

    def change(
        self,
        ref: AppRef,
        wanted: Sequence[resources_pb2.Workflow],
        action: str,
        *,
        reindex: bool,
        confined: bool = False,
    ) -> resources_pb2.Workflow:
        """Makes or changes the app's own workflow of that id, and makes it the base; with `reindex`, builds on it.

        Repeated, it changes nothing more. `confined`: models of the owner's other apps are out of reach. Raises
        InvalidWorkflow naming the node that cannot be, or Untrained.
        """
        if len(wanted) != 1:
            raise InvalidRequest(f"An app has one base workflow; `workflows` has {len(wanted)}.")
        with self.db.write() as tx:
            workflow = _written(tx, ref, wanted[0], checked_action(action or MERGE), confined)
            app = app_rows.get(tx, ref)
            assert app is not None, f"app {ref} was admitted"
            _name(app, ref, workflow.id)
            app_rows.update(tx, app)
            if reindex:
                begin(tx, self.queue, ref)
        return workflow

    def current(self, ref: AppRef) -> tuple[resources_pb2.Workflow | None, list[dict[str, Any]]]:
        """The base workflow, and the generations of the app's index, newest first, as plain values."""
        with self.db.read() as tx:
            app = app_rows.get(tx, ref)
            found = workflow_of(tx, ref, app) if app else None
            return found[1] if found else None, [_told(tx, each) for each in rows.of_app(tx, ref)]

    def drop(self, ref: AppRef, number: int) -> None:
        """A generation that was put aside can be taken back no more. Raises NotFound, InvalidRequest for another."""
        with self.db.write() as tx:
            found = next((each for each in rows.of_app(tx, ref) if each.number == number), None)
            if found is None:
                raise NotFound(f"App {ref.app_id!r} has no generation {number} of its index.")
            if found.state is State.SERVING:
                raise InvalidRequest(f"Generation {number} answers the searches of app {ref.app_id!r}; it stays.")
            rows.set_state(tx, found.key, State.DROPPED)
            indexing.wake(tx, self.queue, ref)


def _told(tx: Connection, generation: Generation) -> dict[str, Any]:
    counts = backlog.counts(tx, generation)
    workflow = resources_pb2.Workflow.FromString(generation.workflow)
    return {
        "number": generation.number,
        "state": generation.state.name,
        "embedder": str(generation.embedder),
        "workflow": {"id": workflow.id, "user_id": workflow.user_id, "app_id": workflow.app_id},
        "dimensions": generation.dimensions,
        "to_reindex": counts.waiting,
        "reindex_errors": counts.failed,
        "recall": generation.recall,
        "report": json.loads(generation.report) if generation.report else None,
    }


def named_anew(
    tx: Connection, app: resources_pb2.App, stored: resources_pb2.App, change: resources_pb2.App, *, confined: bool
) -> None:
    """Settles in a patched app whose workflow its default is: the app's own of that id, else the built-in one.

    `confined`: only those two; else also one of another app of the same owner. Raises InvalidRequest where there is
    none, or where only its owner is named.
    """
    ref, named = AppRef(app.user_id, app.id), change.default_workflow
    workflow_id = named.id or change.default_workflow_id
    if not workflow_id:
        if named.ListFields():
            raise InvalidRequest("default_workflow names no workflow: give default_workflow.id.")
        app.default_workflow.CopyFrom(stored.default_workflow)
        return
    if named.nodes:
        _written(tx, ref, named, MERGE, confined)
    owners = [AppRef(named.user_id or ref.user_id, named.app_id)] if named.app_id else [ref, PUBLIC_APP]
    owner = next((each for each in owners if _may_use(tx, ref, each, workflow_id, confined)), None)
    if owner is None:
        raise InvalidRequest(
            f"default_workflow {workflow_id!r} does not exist in {owners[0].user_id}/{owners[0].app_id}: make it with "
            "PostWorkflows, or name a built-in one, such as 'General'."
        )
    _name(app, owner, workflow_id)


def _may_use(tx: Connection, ref: AppRef, owner: AppRef, workflow_id: str, confined: bool) -> bool:
    is_ours = owner in (ref, PUBLIC_APP) or (owner.user_id == ref.user_id and not confined)
    return is_ours and workflow_rows.get(tx, owner, workflow_id) is not None


def _name(app: resources_pb2.App, owner: AppRef, workflow_id: str) -> None:
    app.default_workflow_id = workflow_id
    named = resources_pb2.Workflow(id=workflow_id, user_id=owner.user_id, app_id=owner.app_id)
    app.default_workflow.CopyFrom(named)


def begin(tx: Connection, queue: Queue, ref: AppRef) -> Generation:
    """Has the app's index built on its default workflow's embedder; answers the generation that is to serve.

    One that is being built on the same embedder goes on; one that was put aside is taken back, and completed; the one
    that serves, if it is on that embedder, tries again what failed. Raises InvalidWorkflow or Untrained.
    """
    embedder = _usable(tx, ref)
    of_app = [each for each in rows.of_app(tx, ref) if each.state is not State.DROPPED]
    for other in of_app:
        if other.state is State.BUILDING and other.embedder != embedder:
            rows.set_state(tx, other.key, State.DROPPED)
    same = next((each for each in of_app if each.embedder == embedder), None)
    indexing.wake(tx, queue, ref)
    if same is not None:
        rows.complete(tx, same.key, State.BUILDING if same.state is State.KEPT else same.state)
        backlog.try_again(tx, same.key)
        return same
    is_first = not any(each.state is State.SERVING for each in of_app)
    state = State.SERVING if is_first else State.BUILDING
    return rows.add(tx, ref, embedder, workflow=default_workflow(tx, ref), state=state)


def _usable(tx: Connection, ref: AppRef) -> ModelVersionRef:
    embedder = embedder_of(tx, ref)
    if embedder is None:
        raise InvalidWorkflow(
            f"The default workflow of app {ref.app_id!r} embeds nothing, so there is nothing to index by: it needs a "
            "node with a trained visual-embedder, such as general-image-embedding."
        )
    version = version_rows.get(tx, embedder)
    if version is None or version.status.code != status_code_pb2.MODEL_TRAINED:
        raise Untrained(
            f"Version {embedder.version_id!r} of model {embedder.model_id!r} is not trained, so nothing can be "
            "embedded with it yet: wait for 21100, or name another version."
        )
    return embedder


# -- the workflow itself -----------------------------------------------------------------------------------------------


def _written(
    tx: Connection, ref: AppRef, wanted: resources_pb2.Workflow, action: str, confined: bool
) -> resources_pb2.Workflow:
    """The app's own workflow as it is now. Where nothing changes, no version is made."""
    workflow_id = checked_id(wanted.id, "Workflow", refuse=InvalidWorkflow)
    stored = workflow_rows.get(tx, ref, workflow_id)
    start = stored or resources_pb2.Workflow(id=workflow_id, user_id=ref.user_id, app_id=ref.app_id)
    change = resources_pb2.Workflow(id=workflow_id, nodes=wanted.nodes)
    workflow = patched(without_renamed_models(start, change), change, action)
    is_as_before = stored is not None and list(stored.nodes) == list(workflow.nodes)
    _check(tx, ref, workflow, confined and not is_as_before)
    if stored is not None and is_as_before:
        return stored
    version_id = checked_id(wanted.version.id, "Workflow version") if wanted.version.id else new_id()
    version = resources_pb2.WorkflowVersion(
        id=version_id, workflow_id=workflow_id, user_id=ref.user_id, app_id=ref.app_id, nodes=workflow.nodes
    )
    workflow.version.CopyFrom(version)
    if stored is None:
        workflow_rows.insert(tx, ref, [workflow])
    else:
        workflow_rows.update(tx, ref, workflow)
    workflow_rows.add_version(tx, ref, version)
    return workflow


def _check(tx: Connection, ref: AppRef, workflow: resources_pb2.Workflow, confined: bool) -> None:
    ids = [node.id for node in workflow.nodes]
    if not 1 <= len(ids) <= MAX_NODES:
        raise InvalidWorkflow(f"Workflow {workflow.id!r} has {len(ids)} nodes; it needs 1 to {MAX_NODES}.")
    for node in workflow.nodes:
        if not node.id or ids.count(node.id) > 1:
            raise InvalidWorkflow(f"Node {node.id!r}: each node of workflow {workflow.id!r} needs an id of its own.")
        unknown = [each.node_id for each in node.node_inputs if each.node_id not in ids]
        if unknown:
            raise InvalidWorkflow(
                f"Node {node.id!r} takes its input from {unknown[0]!r}, which the workflow has not; it has "
                f"{', '.join(ids)}."
            )
        _check_model(tx, ref, node, confined)


def _check_model(tx: Connection, ref: AppRef, node: resources_pb2.WorkflowNode, confined: bool) -> None:
    vref = version_of(tx, ref, node.model)
    check_owner(node.id, ref, vref.app, confined=confined)
    if model_rows.get(tx, vref.app, vref.model_id) is None:
        raise InvalidWorkflow(f"Node {node.id!r}: there is no model {node.model.id!r} in app {vref.app.app_id!r}.")
    if vref.version_id and version_rows.get(tx, vref) is None:
        raise InvalidWorkflow(
            f"Node {node.id!r}: model {node.model.id!r} has no version {node.model.model_version.id!r}."
        )
