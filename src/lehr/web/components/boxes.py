"""A picture with boxes: drawn, moved, resized and deleted in the browser, which tells what was done when it is done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nicegui.element import Element

Corners = tuple[float, float, float, float]
"""Top, left, bottom and right, as shares of the picture from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """One box with its label; `colour` is any of CSS's, else one made of the label."""

    id: str
    corners: Corners
    label: str
    colour: str = ""

    def to_json(self) -> dict[str, Any]:
        """As the browser takes it."""
        return {"id": self.id, "box": list(self.corners), "label": self.label, "colour": self.colour}


class Boxes(Element, component="boxes.js"):
    """The editor; with `fixed` it only shows."""

    def __init__(self, *, src: str, described: str, boxes: Sequence[Box] = (), fixed: bool = False) -> None:
        super().__init__()
        self.props.update({"src": src, "described": described, "fixed": fixed, "label": ""})
        self.props["boxes"] = [box.to_json() for box in boxes]

    def show(self, boxes: Sequence[Box]) -> None:
        """Other boxes than before."""
        self.props["boxes"] = [box.to_json() for box in boxes]
        self.update()

    def draw_as(self, label: str) -> None:
        """What the next box will be called; only its colour shows it."""
        self.props["label"] = label
        self.update()

    def focus_on(self, box_id: str) -> None:
        """Puts the keyboard on a box."""
        self.run_method("focusOn", box_id)

    def on_drawn(self, act: Callable[[Corners], Awaitable[None]]) -> None:
        """A new box."""

        async def drawn(event: Any) -> None:
            await act(corners(event.args["box"]))

        self.on("drawn", drawn)

    def on_changed(self, act: Callable[[str, Corners], Awaitable[None]]) -> None:
        """A box is somewhere else now."""

        async def changed(event: Any) -> None:
            await act(str(event.args["id"]), corners(event.args["box"]))

        self.on("changed", changed)

    def on_removed(self, act: Callable[[str], Awaitable[None]]) -> None:
        """A box was deleted."""

        async def removed(event: Any) -> None:
            await act(str(event.args["id"]))

        self.on("removed", removed)

    def on_chosen(self, act: Callable[[str], None]) -> None:
        """A box was chosen; an empty id: none is."""
        self.on("chosen", lambda event: act(str(event.args or "")))


def corners(told: Sequence[Any]) -> Corners:
    """What a browser told, within the picture."""
    top, left, bottom, right = (min(1.0, max(0.0, float(each))) for each in told)
    return top, left, bottom, right
