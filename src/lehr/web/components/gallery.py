"""The wall of inputs: the browser asks the REST face for what is in sight, and tells which inputs are marked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import ui
from nicegui.element import Element

from lehr.protocol.ids import AppRef


class Gallery(Element, component="gallery.js"):
    """Shows inputs; `source` is `Chosen.source()` or `Sought.source()`, `total` None where nobody counted.

    `picks`: a click chooses an input instead of opening it.
    """

    def __init__(
        self, *, app: AppRef, source: dict[str, Any], total: int | None, query: str = "", picks: bool = False
    ) -> None:
        super().__init__()
        self.marked: list[str] = []
        """Ids of the inputs that are marked now."""
        self.props.update(
            {"app": {"user_id": app.user_id, "app_id": app.app_id}, "source": source, "total": total, "query": query}
        )
        self.props["picks"] = picks
        self.on("problem", lambda event: ui.notify(str(event.args), type="negative", classes="lehr-note"))

    def on_marked(self, act: Callable[[list[str]], None]) -> None:
        """Calls `act` with the ids whenever inputs were marked or unmarked."""

        def changed(event: Any) -> None:
            self.marked = [str(each) for each in event.args]
            act(self.marked)

        self.on("marked", changed)

    def on_picked(self, act: Callable[[str], None]) -> None:
        """Calls `act` with the id of the input that was chosen, of a gallery that picks."""
        self.on("picked", lambda event: act(str(event.args)))

    def on_total(self, act: Callable[[int], None]) -> None:
        """Calls `act` with the number of inputs once the end was seen, where it was unknown."""
        self.on("total", lambda event: act(int(event.args)))

    def refresh(self) -> None:
        """Asks again for what is shown; marks stay."""
        self.run_method("refresh")

    def unmark(self) -> None:
        """Takes every mark away."""
        self.run_method("unmark")
