"""A video with the boxes of the frame that is shown drawn over it; it only shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nicegui.element import Element

from lehr.web.components.boxes import Corners

REACH_MS = 250.0
"""How long before and after its moment a box is shown, where no other moment is nearer."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What is to be seen in one frame: corners and labels of boxes; none, where it was looked at and has none."""

    ms: float
    boxes: tuple[tuple[Corners, str], ...]

    def to_json(self) -> dict[str, Any]:
        """As the browser takes it."""
        return {"ms": self.ms, "boxes": [{"box": list(corners), "label": label} for corners, label in self.boxes]}


class Film(Element, component="film.js"):
    """The player. A moment is shown as long as it is on the screen, at least for a frame."""

    def __init__(self, *, src: str, described: str, fps: float = 0.0) -> None:
        super().__init__()
        reach = max(REACH_MS, 1000 / fps) if fps else REACH_MS
        self.props.update({"src": src, "described": described, "reach": reach, "moments": []})

    def show(self, moments: Sequence[Moment]) -> None:
        """Other boxes than before."""
        self.props["moments"] = [moment.to_json() for moment in moments]
        self.update()

    async def seconds(self) -> float:
        """Where the player is."""
        return float(await self.run_method("seconds"))

    def going_to(self, seconds: float) -> str:
        """JavaScript that stops the player there."""
        return f"() => getElement({self.id}).goTo({seconds!r})"
