"""The graph of a workflow: checked when it is made, put in order for a run. Decides only; stores and runs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lehr.errors import InvalidWorkflow
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.services.node_kinds import FROM_INPUT, IN_INPUT, KINDS, REGIONS, Fit, fit, kind_of

MAX_NODES = 64
INVALID_GRAPH = status_code_pb2.WORKFLOW_INVALID_GRAPH
_CROP_HELP = " Put an image-crop between them to get an image of each region."


@dataclass(frozen=True, kw_only=True)
class Step:
    """One node, once everything that it needs is there."""

    node: resources_pb2.WorkflowNode
    inputs: tuple[str, ...]
    """Ids of the nodes whose output it takes; none: the workflow's input."""
    fit: Fit


def steps_of(nodes: Sequence[resources_pb2.WorkflowNode]) -> list[Step]:
    """The nodes in an order in which they can run. `node.model.model_type_id` must be filled in.

    Raises InvalidWorkflow, with the name of the node, for a graph that cannot run.
    """
    _check_ids(nodes)
    given: dict[str, Fit] = {}
    steps = []
    for node in _in_order(nodes):
        inputs = tuple(dict.fromkeys(each.node_id for each in node.node_inputs))
        found = _fitting(node, {name: given[name] for name in inputs})
        given[node.id] = found
        steps.append(Step(node=node, inputs=inputs, fit=found))
    return steps


def refusal(node_id: str, sentence: str) -> InvalidWorkflow:
    """What is wrong with one node."""
    return InvalidWorkflow(f"Node {node_id!r}: {sentence}", code=INVALID_GRAPH)


def _check_ids(nodes: Sequence[resources_pb2.WorkflowNode]) -> None:
    if len(nodes) > MAX_NODES:
        raise InvalidWorkflow(f"A workflow has at most {MAX_NODES} nodes; this one has {len(nodes)}.")
    ids = [node.id for node in nodes]
    for node in nodes:
        if not node.id:
            raise InvalidWorkflow("A node has no id; every node needs one of its own.", code=INVALID_GRAPH)
        if ids.count(node.id) > 1:
            raise refusal(node.id, "two nodes have this id; every node needs one of its own.")
        for before in node.node_inputs:
            if before.node_id not in ids:
                known = ", ".join(repr(one) for one in ids)
                raise refusal(
                    node.id, f"it takes the output of {before.node_id!r}, which is no node; there are {known}."
                )


def _in_order(nodes: Sequence[resources_pb2.WorkflowNode]) -> list[resources_pb2.WorkflowNode]:
    """Every node after those that it takes the output of, otherwise as they were sent."""
    left, done, order = list(nodes), set[str](), []
    while left:
        ready = next((node for node in left if all(each.node_id in done for each in node.node_inputs)), None)
        if ready is None:
            names = ", ".join(repr(node.id) for node in left)
            raise refusal(left[0].id, f"its inputs go round in a circle; these nodes wait for each other: {names}.")
        left.remove(ready)
        done.add(ready.id)
        order.append(ready)
    return order


def _fitting(node: resources_pb2.WorkflowNode, inputs: Mapping[str, Fit]) -> Fit:
    type_id = node.model.model_type_id
    kind = kind_of(type_id)
    if kind is None:
        raise refusal(node.id, f"models of type {type_id!r} cannot be nodes; these can: {', '.join(KINDS)}.")
    if not inputs:
        found = fit(kind, FROM_INPUT) or fit(kind, IN_INPUT)
        assert found is not None, f"a {type_id} suits no input at all"
        return found
    available = frozenset[str]().union(*(before.gives for before in inputs.values()))
    found = fit(kind, available)
    if found is None:
        wanted = " or ".join(kind.takes)
        offered = "; ".join(f"{name!r} gives {', '.join(sorted(before.gives))}" for name, before in inputs.items())
        help_ = _CROP_HELP if "image" in kind.takes and REGIONS in available else ""
        raise refusal(node.id, f"a {type_id} takes {wanted}, but {offered}.{help_}")
    _check_single(node, found, inputs)
    return found


def _check_single(node: resources_pb2.WorkflowNode, found: Fit, inputs: Mapping[str, Fit]) -> None:
    """Of embeddings there can be only one: of two, nobody could say which is meant."""
    if found.field != "embeddings" or found.per_region:
        return
    sources = [name for name, before in inputs.items() if found.field in before.gives]
    if len(sources) > 1:
        raise refusal(node.id, f"it takes one embedding, but gets one each from {', '.join(map(repr, sources))}.")
