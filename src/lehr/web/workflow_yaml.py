"""Workflows as YAML, in the form that the published Python package writes and reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml  # type: ignore[import-untyped]

from lehr.errors import InvalidWorkflow
from lehr.protocol import dialect, resources_pb2
from lehr.web.drafts import Draft, Node, Using

MAX_CHARACTERS = 256_000


def to_yaml(workflow_id: str, draft: Draft) -> str:
    """`workflow: {id, nodes}`."""
    told = {"workflow": {"id": workflow_id, "nodes": [_told(node) for node in draft.nodes]}}
    text: str = yaml.safe_dump(told, sort_keys=False, allow_unicode=True)
    return text


def _told(node: Node) -> dict[str, Any]:
    model = {
        "model_id": node.model.id,
        "model_type_id": "" if node.model.id else node.model.type_id,
        "model_version_id": node.model.version_id,
        "user_id": node.model.user_id,
        "app_id": node.model.app_id,
    }
    told: dict[str, Any] = {"id": node.id, "model": {name: value for name, value in model.items() if value}}
    if node.inputs:
        told["node_inputs"] = [{"node_id": each} for each in node.inputs]
    if node.is_hidden:
        told["suppress_output"] = True
    if node.override:
        told["output_info_override"] = dict(node.override)
    return told


def from_yaml(text: str) -> tuple[str, Draft]:
    """The id, which may be empty, and the nodes; `model_type_id`s of models are not known yet.

    Raises InvalidWorkflow with what is wrong, and where.
    """
    if len(text) > MAX_CHARACTERS:
        raise InvalidWorkflow(f"The text has {len(text):,} characters; a workflow has at most {MAX_CHARACTERS:,}.")
    try:
        told = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidWorkflow(f"This is no YAML: {error}") from error
    workflow = told.get("workflow", told) if isinstance(told, Mapping) else None
    nodes = workflow.get("nodes") if isinstance(workflow, Mapping) else None
    if not isinstance(workflow, Mapping) or not isinstance(nodes, list):
        raise InvalidWorkflow("A workflow is written as `workflow:` with `id:` and a list of `nodes:`.")
    return str(workflow.get("id") or ""), Draft(nodes=tuple(_node(each, n) for n, each in enumerate(nodes)))


def _node(told: Any, number: int) -> Node:
    where = f"nodes[{number}]"
    if not isinstance(told, Mapping) or not told.get("id") or not isinstance(told.get("model"), Mapping):
        raise InvalidWorkflow(f"{where} needs an `id` and a `model`.")
    model = told["model"]
    inputs = told.get("node_inputs") or []
    if not isinstance(inputs, list) or not all(isinstance(each, Mapping) and each.get("node_id") for each in inputs):
        raise InvalidWorkflow(f"{where}.node_inputs is a list of `node_id`s.")
    override = told.get("output_info_override") or model.get("output_info") or {}
    if not isinstance(override, Mapping):
        raise InvalidWorkflow(f"{where}.output_info_override is an object.")
    dialect.from_json(resources_pb2.OutputInfo(), dict(override))
    using = Using(
        type_id=str(model.get("model_type_id") or ""),
        id=str(model.get("model_id") or ""),
        user_id=str(model.get("user_id") or ""),
        app_id=str(model.get("app_id") or ""),
        version_id=str(model.get("model_version_id") or ""),
    )
    if not using.id and not using.type_id:
        raise InvalidWorkflow(f"{where}.model needs a `model_id`.")
    return Node(
        id=str(told["id"]),
        model=using,
        inputs=tuple(str(each["node_id"]) for each in inputs),
        is_hidden=bool(told.get("suppress_output")),
        override=dict(override),
    )
