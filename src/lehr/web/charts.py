"""Charts of curves and points with the table that says the same; options of ECharts are made here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lehr.web import pieces
from lehr.web.components.chart import Chart

COLOURS = tuple(f"var(--line-{number})" for number in range(1, 9))
"""Of series, in their order: told apart by those who see red and green alike too."""
_MOST_ROWS = 40
"""Of a table beside a chart; evenly chosen."""

Points = Sequence[tuple[float, float | None]]


@dataclass(frozen=True, kw_only=True)
class Series:
    """A named curve."""

    name: str
    points: Points
    is_faint: bool = False
    """Drawn behind the others, thin."""
    colour: str = ""


@dataclass(frozen=True, kw_only=True)
class Axes:
    """What x and y are."""

    x: str
    y: str = ""
    least: float | None = None
    most: float | None = None
    x_most: float | None = None


class Curves:
    """A chart of curves and its table, drawn anew with `show`."""

    def __init__(self, heading: str, axes: Axes, series: Sequence[Series], *, tall: int = 240) -> None:
        self._heading, self._axes = heading, axes
        self._chart = Chart(
            line_options(axes, series), described=f"{heading}. The table below says the same.", tall=tall
        )
        self._series = series
        with pieces.element("details", "lehr-details"):
            pieces.text("As a table", tag="summary")
            with pieces.element("div", "lehr-rows", tabindex=0, role="region") as rows:
                rows.props["aria-label"] = f"{heading}, as a table"
                self._table = pieces.Redrawn(lambda _: series_table(self._heading, self._axes, self._series))

    def show(self, series: Sequence[Series]) -> None:
        """Other curves, or longer ones."""
        self._series = series
        self._chart.show(line_options(self._axes, series))
        self._table.draw()


def series_table(caption: str, axes: Axes, series: Sequence[Series]) -> None:
    """What the curves show, in rows: one for each x that any of them has."""
    seen = [each for each in series if each.points and not each.is_faint] or [each for each in series if each.points]
    values = [dict(each.points) for each in seen]
    places = sorted({x for found in values for x in found})
    kept = places if len(places) <= _MOST_ROWS else [places[len(places) * n // _MOST_ROWS] for n in range(_MOST_ROWS)]
    if not kept:
        pieces.text("Nothing yet.", classes="lehr-quiet lehr-small")
        return
    names = [each.name for each in seen]
    with pieces.table(caption, axes.x, *names, numbers=tuple(names)):
        for x in kept:
            with pieces.element("tr"):
                pieces.text(shown(x), tag="td")
                for found in values:
                    pieces.text(shown(found.get(x)), tag="td", classes="lehr-number")


def shown(value: float | None) -> str:
    """A number in four digits; nothing for none."""
    return "" if value is None else f"{value:.4g}"


def line_options(axes: Axes, series: Sequence[Series]) -> dict[str, Any]:
    """Curves over a common x."""
    return {
        **_frame(axes, top=40 if len(series) > 1 else 12),
        "legend": {**_legend(series), "show": len(series) > 1},
        "series": [_line(number, each) for number, each in enumerate(series)],
        "tooltip": {**_TIP, "trigger": "axis", "axisPointer": {"type": "line", "lineStyle": {"color": "var(--edge)"}}},
    }


def _line(number: int, series: Series) -> dict[str, Any]:
    colour = series.colour or COLOURS[number % len(COLOURS)]
    few = len(series.points) < 30
    return {
        "name": series.name,
        "type": "line",
        "data": [[_short(x), _short(y)] for x, y in series.points],
        "showSymbol": few and not series.is_faint,
        "symbolSize": 6 if len(series.points) > 1 else 13,
        "color": colour,
        "lineStyle": {"width": 1 if series.is_faint else 2.25, "opacity": 0.55 if series.is_faint else 1},
        "emphasis": {"disabled": True},
        "z": 1 if series.is_faint else 2,
    }


def scatter_options(axes: Axes, series: Sequence[Series]) -> dict[str, Any]:
    """Points without lines; their places mean something, the axes do not."""
    hidden = {"show": False, "scale": True}
    marks = ("circle", "triangle", "rect", "diamond", "pin", "arrow", "roundRect")
    return {
        **_frame(axes),
        "xAxis": hidden,
        "yAxis": hidden,
        "legend": {**_legend(series), "icon": None, "itemHeight": 10},
        "tooltip": {**_TIP, "trigger": "item", "formatter": "{a}"},
        "series": [
            {
                "name": each.name,
                "type": "scatter",
                "data": [[_short(x), _short(y)] for x, y in each.points],
                "symbol": marks[number // len(COLOURS) % len(marks)],
                "symbolSize": 9,
                "color": each.colour or COLOURS[number % len(COLOURS)],
                "itemStyle": {"opacity": 0.8},
                "cursor": "pointer",
            }
            for number, each in enumerate(series)
        ],
    }


_TIP: dict[str, Any] = {
    "confine": True,
    "backgroundColor": "var(--card)",
    "borderColor": "var(--line)",
    "textStyle": {"color": "var(--text)", "fontSize": 13},
}


def _frame(axes: Axes, *, top: int = 40) -> dict[str, Any]:
    words = {"color": "var(--quiet)", "fontSize": 12}
    line = {"lineStyle": {"color": "var(--line)"}}
    return {
        "animation": False,
        "textStyle": {"fontFamily": "system-ui, sans-serif"},
        "grid": {"left": 8, "right": 16, "top": top, "bottom": 28, "containLabel": True},
        "xAxis": {
            "type": "value",
            "name": axes.x,
            "nameLocation": "middle",
            "nameGap": 26,
            "nameTextStyle": words,
            "axisLabel": words,
            "axisLine": line,
            "splitLine": {"show": False},
            "max": "dataMax" if axes.x_most is None else axes.x_most,
        },
        "yAxis": {
            "type": "value",
            "scale": axes.least is None,
            "min": axes.least,
            "max": axes.most,
            "axisLabel": words,
            "splitLine": line,
        },
    }


def _legend(series: Sequence[Series]) -> dict[str, Any]:
    return {
        "type": "scroll",
        "top": 0,
        "left": 0,
        "icon": "roundRect",
        "itemWidth": 14,
        "itemHeight": 8,
        "textStyle": {"color": "var(--quiet)", "fontSize": 12},
        "pageIconColor": "var(--text)",
        "pageIconInactiveColor": "var(--line)",
        "pageTextStyle": {"color": "var(--quiet)"},
        "data": [each.name for each in series],
    }


def _short(value: float | None) -> float | None:
    """Enough digits to draw and to read; a live chart is sent again and again."""
    return None if value is None else float(f"{value:.6g}")
