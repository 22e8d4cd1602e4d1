"""A chart in the page's colours; what is drawn is said again in words, and in a table beside it (`charts.py`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui.element import Element
from nicegui.elements.echart import echart as _registers_echarts  # noqa: F401 - the module that chart.js imports


class Chart(Element, component="chart.js"):
    """`options` are those of ECharts; colours in them are variables of lehr.css: `var(--accent)`."""

    def __init__(self, options: dict[str, Any], *, described: str, tall: int = 260) -> None:
        super().__init__()
        self.props.update({"options": options, "described": described, "tall": tall})

    def show(self, options: dict[str, Any]) -> None:
        """Something else than before."""
        self.props["options"] = options
        self.update()

    def on_picked(self, act: Callable[[str, int], Awaitable[None] | None]) -> None:
        """A point was clicked: its series and its place in it."""

        async def picked(event: Any) -> None:
            done = act(str(event.args["series"]), int(event.args["index"]))
            if done is not None:
                await done

        self.on("picked", picked)
