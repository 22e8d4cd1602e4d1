"""The graph of a workflow, drawn and changed in the browser, which tells what was done when it is done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nicegui.element import Element

Act = Callable[[str], Awaitable[None] | None]
Join = Callable[[str, str], Awaitable[None] | None]


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One node as it is drawn."""

    id: str
    kind: str
    """What it is, in words."""
    gives: str
    inputs: tuple[str, ...]
    problem: str = ""
    hidden: bool = False


class Graph(Element, component="graph.js"):
    """With `fixed` it only shows."""

    def __init__(self, nodes: Sequence[Drawn], *, chosen: str = "", fixed: bool = False) -> None:
        super().__init__()
        self.props.update({"nodes": [asdict(node) for node in nodes], "chosen": chosen, "fixed": fixed})

    def show(self, nodes: Sequence[Drawn], chosen: str) -> None:
        """Other nodes than before."""
        self.props.update({"nodes": [asdict(node) for node in nodes], "chosen": chosen})
        self.update()

    def on_chosen(self, act: Act) -> None:
        """A node was chosen; an empty id: none is."""
        self.on("chosen", lambda event: act(str(event.args or "")))

    def on_removed(self, act: Act) -> None:
        """A node was deleted."""
        self.on("removed", lambda event: act(str(event.args)))

    def on_joined(self, act: Join) -> None:
        """The output of the first goes into the second now."""
        self.on("joined", lambda event: act(*_pair(event.args)))

    def on_parted(self, act: Join) -> None:
        """It does so no longer."""
        self.on("parted", lambda event: act(*_pair(event.args)))


def _pair(told: dict[str, Any]) -> tuple[str, str]:
    return str(told["from"]), str(told["to"])
