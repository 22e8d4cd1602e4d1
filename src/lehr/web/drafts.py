"""A workflow while it is drawn: its nodes, changed one by one, kept in the page's address, checked as the server does.

Stores nothing: `to_nodes` is what a save sends.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lehr.errors import InvalidWorkflow, LehrError
from lehr.protocol import dialect, resources_pb2
from lehr.services.node_kinds import FROM_INPUT, IN_INPUT, fit, kind_of
from lehr.services.operator_types import UNTRAINED_TYPES
from lehr.services.operators import Operator
from lehr.services.workflow_graph import refusal, steps_of

MAX_TEXT = 200_000
"""Characters of a draft, unpacked; a full workflow of 64 nodes has about a tenth."""
_OPERATORS: Mapping[str, Operator] = {id_: one for one in UNTRAINED_TYPES for id_ in (one.model_type_id, *one.aliases)}
_NODE = re.compile(r"^Node '([^']*)': ")


def operator_for(model_type_id: str) -> Operator | None:
    """What a model type that nobody trains can be configured with."""
    return _OPERATORS.get(model_type_id)


@dataclass(frozen=True, kw_only=True)
class Using:
    """The model of a node. Without an id, one of its type is made when the workflow is saved."""

    type_id: str
    id: str = ""
    user_id: str = ""
    app_id: str = ""
    version_id: str = ""
    """Empty: the newest when the workflow is saved."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node."""

    id: str
    model: Using
    inputs: tuple[str, ...] = ()
    is_hidden: bool = False
    override: Mapping[str, Any] = field(default_factory=dict)
    """`output_info_override`, as JSON has it."""

    def to_message(self) -> resources_pb2.WorkflowNode:
        """As the API takes it."""
        model = resources_pb2.Model(id=self.model.id, user_id=self.model.user_id, app_id=self.model.app_id)
        model.model_type_id = self.model.type_id
        if self.model.version_id:
            model.model_version.id = self.model.version_id
        node = resources_pb2.WorkflowNode(id=self.id, model=model, suppress_output=self.is_hidden)
        node.node_inputs.extend(resources_pb2.NodeInput(node_id=each) for each in self.inputs)
        if self.override:
            dialect.from_json(node.output_info_override, dict(self.override))
        return node

    @classmethod
    def of(cls, node: resources_pb2.WorkflowNode) -> Node:
        """As a stored workflow has it."""
        model = node.model
        return cls(
            id=node.id,
            model=Using(
                type_id=model.model_type_id,
                id=model.id,
                user_id=model.user_id,
                app_id=model.app_id,
                version_id=model.model_version.id,
            ),
            inputs=tuple(each.node_id for each in node.node_inputs),
            is_hidden=node.suppress_output,
            override=dialect.to_json(node.output_info_override) if node.HasField("output_info_override") else {},
        )


@dataclass(frozen=True, kw_only=True)
class Draft:
    """All nodes, in the order in which they were added."""

    nodes: tuple[Node, ...] = ()

    @classmethod
    def of(cls, nodes: Sequence[resources_pb2.WorkflowNode]) -> Draft:
        """A stored workflow's."""
        return cls(nodes=tuple(Node.of(each) for each in nodes))

    @classmethod
    def from_text(cls, text: str) -> Draft | None:
        """What `to_text` wrote; None for anything else."""
        try:
            packed = base64.urlsafe_b64decode(text.encode("ascii"))
            told = json.loads(zlib.decompressobj().decompress(packed, MAX_TEXT))
            return cls(nodes=tuple(_node(each) for each in told))
        except (ValueError, TypeError, KeyError, zlib.error, LehrError):
            return None

    def to_text(self) -> str:
        """Short enough for an address."""
        told = json.dumps([asdict(node) for node in self.nodes], separators=(",", ":"))
        return base64.urlsafe_b64encode(zlib.compress(told.encode(), 9)).decode()

    def to_nodes(self) -> list[resources_pb2.WorkflowNode]:
        """As the API takes them."""
        return [node.to_message() for node in self.nodes]

    def get(self, node_id: str) -> Node | None:
        """A node."""
        return next((node for node in self.nodes if node.id == node_id), None)

    # -- changes -------------------------------------------------------------------------------------------------------

    def added(self, model: Using, *, after: str = "") -> tuple[Draft, str]:
        """With another node, that takes the output of `after` if it can; and its id."""
        stem = re.sub(r"[^-_0-9A-Za-z]+", "-", model.id or model.type_id).strip("-")[:40] or "node"
        number = next(n for n in range(1, len(self.nodes) + 2) if self.get(_numbered(stem, n)) is None)
        node = Node(id=_numbered(stem, number), model=model)
        alone = Draft(nodes=(*self.nodes, node))
        joined = Draft(nodes=(*self.nodes, replace(node, inputs=(after,)))) if self.get(after) else alone
        return (alone if joined.problem() and not self.problem() else joined), node.id

    def without(self, node_id: str) -> Draft:
        """Without a node, and without what came from it."""
        kept = [node for node in self.nodes if node.id != node_id]
        return Draft(nodes=tuple(replace(node, inputs=tuple(n for n in node.inputs if n != node_id)) for node in kept))

    def joined(self, source: str, target: str) -> Draft:
        """With the output of one node going into another."""
        node = self.get(target)
        if node is None or self.get(source) is None or source in node.inputs:
            return self
        return self.changed(replace(node, inputs=(*node.inputs, source)))

    def parted(self, source: str, target: str) -> Draft:
        """Without that."""
        node = self.get(target)
        return (
            self if node is None else self.changed(replace(node, inputs=tuple(n for n in node.inputs if n != source)))
        )

    def changed(self, node: Node) -> Draft:
        """With a node as it is given."""
        return Draft(nodes=tuple(node if each.id == node.id else each for each in self.nodes))

    def renamed(self, old: str, new: str) -> Draft:
        """With another id for a node, wherever it is named."""
        return Draft(
            nodes=tuple(
                replace(
                    node,
                    id=new if node.id == old else node.id,
                    inputs=tuple(new if each == old else each for each in node.inputs),
                )
                for node in self.nodes
            )
        )

    # -- checks --------------------------------------------------------------------------------------------------------

    def problem(self) -> tuple[str, str] | None:
        """The node that cannot be, and why, as a save would say it; an empty id where it is not about one node."""
        try:
            messages = self.to_nodes()
            steps_of(messages)
            for node in messages:
                _check_settings(node)
        except LehrError as error:
            return told_of(error)
        return None

    def gives(self, node_id: str) -> tuple[str, ...]:
        """What a node gives on: fields of Data; nothing while it does not fit."""
        node = self.get(node_id)
        kind = kind_of(node.model.type_id) if node else None
        if node is None or kind is None:
            return ()
        before = [set(self.gives(each)) for each in node.inputs if each != node_id] if not self.problem() else []
        offered = set().union(*before) if before else FROM_INPUT
        found = fit(kind, offered) or (fit(kind, IN_INPUT) if not node.inputs else None)
        return tuple(sorted(found.gives)) if found else ()


def told_of(error: LehrError) -> tuple[str, str]:
    """The node that a refusal is about, and its sentence."""
    found = _NODE.match(error.details)
    return (found[1], error.details[found.end() :]) if found else ("", error.details)


def _check_settings(node: resources_pb2.WorkflowNode) -> None:
    operator = operator_for(node.model.model_type_id)
    if operator is None:
        return
    try:
        operator.settings(node.output_info_override)
    except LehrError as error:
        raise refusal(node.id, error.details) from error


def _numbered(stem: str, number: int) -> str:
    return stem if number == 1 else f"{stem}-{number}"


def _node(told: Mapping[str, Any]) -> Node:
    made = Node(
        id=str(told["id"]),
        model=Using(**{name: str(value) for name, value in told["model"].items()}),
        inputs=tuple(str(each) for each in told["inputs"]),
        is_hidden=bool(told["is_hidden"]),
        override=dict(told["override"]),
    )
    if not made.id:
        raise InvalidWorkflow("A node has no id.")
    made.to_message()
    return made
