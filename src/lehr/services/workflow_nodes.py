"""The nodes that a client sends, checked against the models there are, and pinned to versions. Stores nothing."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from lehr.errors import InvalidWorkflow, LehrError, ModelNotFound
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import PUBLIC_APP, AppRef
from lehr.services.located import version_of
from lehr.services.operators import operator_of
from lehr.services.workflow_graph import refusal, steps_of
from lehr.store import models as model_rows
from lehr.store import versions as version_rows
from lehr.store.versions import ModelVersionRef


def checked_nodes(
    tx: Connection, ref: AppRef, nodes: Sequence[resources_pb2.WorkflowNode], *, confined: bool = False
) -> list[resources_pb2.WorkflowNode]:
    """The nodes as they are kept: models by their whole names, versions pinned.

    A node may use models of `ref`, of other apps of the same owner (unless `confined`: to a key of one app), and those
    built in. Raises InvalidWorkflow with the name of the node for anything that could not run.
    """
    kept = [_kept(tx, ref, node, confined=confined) for node in nodes]
    steps_of(kept)
    return kept


def _kept(
    tx: Connection, ref: AppRef, node: resources_pb2.WorkflowNode, *, confined: bool
) -> resources_pb2.WorkflowNode:
    if not node.model.id:
        raise refusal(node.id, "it names no model: set model.id.")
    kept = resources_pb2.WorkflowNode()
    kept.CopyFrom(node)
    vref = version_of(tx, ref, node.model)
    check_owner(node.id, ref, vref.app, confined=confined)
    model, version = _found(tx, node.id, vref)
    kept.model.CopyFrom(_named(vref.app, model, version))
    _check_settings(node, model, version)
    return kept


def without_renamed_models(stored: resources_pb2.Workflow, change: resources_pb2.Workflow) -> resources_pb2.Workflow:
    """The stored workflow to merge a change into: a node that is given a model keeps nothing of the one it had."""
    named = {node.id for node in change.nodes if node.model.id}
    kept = resources_pb2.Workflow()
    kept.CopyFrom(stored)
    for node in kept.nodes:
        if node.id in named:
            node.ClearField("model")
    return kept


def check_owner(node_id: str, ref: AppRef, app: AppRef, *, confined: bool) -> None:
    """Raises InvalidWorkflow for a model of an app that a workflow of `ref` may not use, as `checked_nodes` says."""
    if app not in (ref, PUBLIC_APP) and (confined or app.user_id != ref.user_id):
        raise refusal(node_id, f"Model does not exist, or is not yours to use: app {app.user_id}/{app.app_id}.")


def _found(
    tx: Connection, node_id: str, vref: ModelVersionRef
) -> tuple[resources_pb2.Model, resources_pb2.ModelVersion]:
    """The model, and the version named or else the newest trained one."""
    model = model_rows.get(tx, vref.app, vref.model_id)
    if model is None:
        raise refusal(node_id, f"Model does not exist: there is no model {vref.model_id!r} in app {vref.app.app_id!r}.")
    if not vref.version_id:
        version = version_rows.latest_trained(tx, vref.app, [vref.model_id]).get(vref.model_id)
    else:
        version = version_rows.get(tx, vref)
        if version is None:
            raise refusal(node_id, f"model {vref.model_id!r} has no version {vref.version_id!r}.")
    if version is None or version.status.code != status_code_pb2.MODEL_TRAINED:
        which = f"version {version.id!r}" if version else "any version"
        raise InvalidWorkflow(
            f"Node {node_id!r}: model {vref.model_id!r} is not trained ({which}). Train it and wait for 21100 first.",
            code=status_code_pb2.WORKFLOW_REQUIRE_TRAINED_MODEL,
        )
    return model, version


def _named(app: AppRef, model: resources_pb2.Model, version: resources_pb2.ModelVersion) -> resources_pb2.Model:
    """Which model, in which version; what it is configured with stays with it."""
    named = resources_pb2.Model(
        id=model.id, name=model.name, user_id=app.user_id, app_id=app.app_id, model_type_id=model.model_type_id
    )
    named.model_version.CopyFrom(
        resources_pb2.ModelVersion(id=version.id, user_id=app.user_id, app_id=app.app_id, status=version.status)
    )
    return named


def _check_settings(
    node: resources_pb2.WorkflowNode, model: resources_pb2.Model, version: resources_pb2.ModelVersion
) -> None:
    """Of an operator: what the node overrides must make sense."""
    operator = operator_of(model.model_type_id)
    if operator is None:
        return
    try:
        operator.settings(overridden(version.output_info, node))
    except LehrError as error:
        raise refusal(node.id, error.details) from error


def overridden(info: resources_pb2.OutputInfo, node: resources_pb2.WorkflowNode) -> resources_pb2.OutputInfo:
    """A version's configuration with what the node says instead."""
    result = resources_pb2.OutputInfo()
    result.CopyFrom(info)
    given = node.output_info_override
    for name, value in given.params.fields.items():
        result.params.fields[name].CopyFrom(value)
    if given.data.concepts:
        del result.data.concepts[:]
        result.data.concepts.extend(given.data.concepts)
    return result


def runnable(tx: Connection, node: resources_pb2.WorkflowNode) -> tuple[resources_pb2.Model, ModelVersionRef]:
    """The model and version of a node that was checked when it was made. Raises ModelNotFound if either went since."""
    named = node.model
    vref = ModelVersionRef(AppRef(named.user_id, named.app_id), named.id, named.model_version.id)
    model, version = model_rows.get(tx, vref.app, vref.model_id), version_rows.get(tx, vref)
    if model is None or version is None:
        what = f"version {vref.version_id!r} of model {vref.model_id!r}"
        raise ModelNotFound(f"Model does not exist: {what} was deleted since. Patch the workflow to use another.")
    model.model_version.CopyFrom(version)
    return model, vref
