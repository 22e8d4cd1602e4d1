"""Trying a model or a workflow: the browser sends what is dropped to the public call, and draws the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from nicegui import ui
from nicegui.element import Element

from lehr.protocol.ids import AppRef


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is asked: a model or a workflow that is found from the app, and its version; an empty one is the newest."""

    kind: str
    """`model` or `workflow`."""
    id: str
    version: str = ""
    nodes: tuple[str, ...] = ()
    """Of a workflow: the nodes whose output is shown, in order."""

    def to_json(self) -> dict[str, Any]:
        """As the browser takes it."""
        return {"kind": self.kind, "id": self.id, "version": self.version, "nodes": list(self.nodes)}


class Trial(Element, component="trial.js"):
    """`picture` is one that this browser keeps, `input_id` one of the app's."""

    def __init__(self, *, app: AppRef, target: Target, input_id: str, picture: str, least: float) -> None:
        super().__init__()
        self.props.update(
            {
                "app": {"user_id": app.user_id, "app_id": app.app_id},
                "target": target.to_json(),
                "input": input_id,
                "picture": picture,
                "least": least,
            }
        )
        self.on("problem", lambda event: ui.notify(str(event.args), type="warning", classes="lehr-note"))

    def ask(self, target: Target) -> None:
        """Asks another one about the same picture."""
        self.run_method("use", {"target": target.to_json()})

    def look_at(self, input_id: str) -> None:
        """Asks about an input of the app."""
        self.run_method("use", {"input": input_id})

    def on_dropped(self, act: Callable[[str], Awaitable[None] | None]) -> None:
        """A file was dropped; `act` gets the id under which the browser keeps it."""
        self.on("dropped", lambda event: act(str(event.args)))

    def on_least(self, act: Callable[[float], None]) -> None:
        """Another threshold was chosen."""
        self.on("least", lambda event: act(min(1.0, max(0.0, float(event.args)))))
