"""Which RPC a REST path means: a tree of path segments, made from the descriptors.

A fixed segment wins over a parameter (`/models/types` over `/models/{model_id}`). Two RPCs with one route: the first
that the service lists has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from lehr.protocol.rpcs import Rpc


@dataclass(frozen=True, kw_only=True)
class Route:
    """A binding found: the RPC and the fields that the path sets, in the path's order."""

    rpc: Rpc
    fields: tuple[str, ...]


@dataclass(kw_only=True)
class _Node:
    fixed: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    routes: dict[str, Route] = field(default_factory=dict)


class Routes:
    """All REST bindings of some RPCs."""

    def __init__(self, rpcs: Iterable[Rpc]) -> None:
        self._root = _Node()
        for rpc in rpcs:
            for binding in rpc.bindings:
                self._add(rpc, binding.method, binding.template)

    def _add(self, rpc: Rpc, method: str, template: str) -> None:
        node, fields = self._root, []
        for segment in template.strip("/").split("/"):
            if segment.startswith("{"):
                fields.append(segment[1:-1])
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.fixed.setdefault(segment, _Node())
        node.routes.setdefault(method, Route(rpc=rpc, fields=tuple(fields)))

    def find(self, method: str, segments: list[str]) -> tuple[Route, list[str]] | None:
        """The route of a decoded path and the values of its parameters."""
        for node, values in _ends(self._root, segments, 0, []):
            if method in node.routes:
                return node.routes[method], values
        return None

    def methods(self, segments: list[str]) -> list[str]:
        """The methods that the path answers; none: no such path."""
        return sorted({method for node, _ in _ends(self._root, segments, 0, []) for method in node.routes})


def _ends(node: _Node, segments: list[str], depth: int, values: list[str]) -> Iterator[tuple[_Node, list[str]]]:
    """Every node that the path leads to, with its parameters' values, the most fixed first."""
    if depth == len(segments):
        yield node, values
        return
    segment = segments[depth]
    if segment in node.fixed:
        yield from _ends(node.fixed[segment], segments, depth + 1, values)
    if node.parameter is not None and segment:
        yield from _ends(node.parameter, segments, depth + 1, [*values, segment])
