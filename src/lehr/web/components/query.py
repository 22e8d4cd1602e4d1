"""What a search is by: the picture, shown by the browser that has it, and the box that is drawn on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import ui
from nicegui.element import Element

from lehr.protocol.ids import AppRef
from lehr.web.components.boxes import Corners, corners


class Query(Element, component="query.js"):
    """`picture` is one that this browser keeps, `input_id` one of the app's."""

    def __init__(self, *, app: AppRef, input_id: str, picture: str, box: Corners | None) -> None:
        super().__init__()
        self.props.update({"app": {"user_id": app.user_id, "app_id": app.app_id}, "input": input_id})
        self.props.update({"picture": picture, "box": list(box) if box else None})
        self.on("problem", lambda event: ui.notify(str(event.args), type="negative", classes="lehr-note"))

    def on_dropped(self, act: Callable[[str], None]) -> None:
        """A picture was dropped; `act` gets the id under which the browser keeps it."""
        self.on("dropped", lambda event: act(str(event.args)))

    def on_boxed(self, act: Callable[[Corners | None], None]) -> None:
        """A box was drawn, changed, or (None) taken away."""
        self.on("boxed", lambda event: act(corners(event.args) if event.args else None))

    def on_saved(self, act: Callable[[str], None]) -> None:
        """The search is kept under this id now."""
        self.on("saved", lambda event: act(str(event.args)))

    def save(self, search: dict[str, Any], among: str) -> None:
        """Keeps a search of inputs or annotations, with the picture."""
        self.run_method("save", search, among)
