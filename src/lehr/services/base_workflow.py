"""Which model turns an app's pictures into the vectors that searches compare. Embeds nothing itself."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from lehr.protocol import resources_pb2
from lehr.protocol.ids import PUBLIC_APP, AppRef
from lehr.services.located import version_of
from lehr.store import apps as app_rows
from lehr.store import models as model_rows
from lehr.store import versions as version_rows
from lehr.store import workflows as workflow_rows
from lehr.store.versions import ModelVersionRef

BUILT_IN = PUBLIC_APP
"""Whose workflows every app may name."""
EMBEDDERS = frozenset({"visual-embedder"})
"""Model types whose output is a vector of a picture."""


def embedder_of(tx: Connection, ref: AppRef) -> ModelVersionRef | None:
    """The embedder of the app's default workflow; None where it has none that embeds."""
    app = app_rows.get(tx, ref)
    if app is None:
        return None
    found = workflow_of(tx, ref, app)
    return None if found is None else embedder_in(tx, *found)


def workflow_of(tx: Connection, ref: AppRef, app: resources_pb2.App) -> tuple[AppRef, resources_pb2.Workflow] | None:
    """The app's default workflow as it is stored, and whose it is: the app's own before the built-in one."""
    named = app.default_workflow
    workflow_id = named.id or app.default_workflow_id
    owners = [ref, BUILT_IN]
    if named.app_id:
        owners = [AppRef(named.user_id or ref.user_id, named.app_id)]
    for owner in owners:
        is_ours = owner == BUILT_IN or owner.user_id == ref.user_id
        stored = workflow_rows.get(tx, owner, workflow_id) if is_ours and workflow_id else None
        if stored is not None:
            return owner, stored
    return None


def default_workflow(tx: Connection, ref: AppRef) -> bytes:
    """What the app names as its default workflow, as a generation keeps it."""
    app = app_rows.get(tx, ref)
    named = resources_pb2.Workflow() if app is None else app.default_workflow
    if app is not None and not named.id:
        named = resources_pb2.Workflow(id=app.default_workflow_id)
    return named.SerializeToString()


def embedder_in(tx: Connection, owner: AppRef, workflow: resources_pb2.Workflow) -> ModelVersionRef | None:
    """The last node, in the order of the graph, that is an embedder with a version to be had."""
    found = None
    for node in in_order(workflow.nodes):
        found = _embedder(tx, owner, node.model) or found
    return found


def _embedder(tx: Connection, owner: AppRef, named: resources_pb2.Model) -> ModelVersionRef | None:
    vref = version_of(tx, owner, named)
    model = model_rows.get(tx, vref.app, vref.model_id)
    if model is None or model.model_type_id not in EMBEDDERS:
        return None
    if not vref.version_id:
        newest = version_rows.latest_trained(tx, vref.app, [vref.model_id]).get(vref.model_id)
        vref = ModelVersionRef(vref.app, vref.model_id, newest.id if newest else "")
    return vref if vref.version_id and version_rows.get(tx, vref) is not None else None


def in_order(nodes: list[resources_pb2.WorkflowNode]) -> Iterator[resources_pb2.WorkflowNode]:
    """Nodes after those whose outputs they take; what goes round in circles comes last, as it was sent."""
    left, done = list(nodes), set[str]()
    while left:
        ready = [node for node in left if all(each.node_id in done for each in node.node_inputs)] or left
        yield from ready
        done.update(node.id for node in ready)
        left = [node for node in left if node.id not in done]
