"""A slider: the browser's own, which keyboards and screen readers know."""

from __future__ import annotations

from collections.abc import Callable

from nicegui.events import GenericEventArguments

from lehr.web import pieces


class Slider:
    """`slid` hears every new value while it is moved, at most ten a second; `done` the one it was left at."""

    def __init__(self, label: str, *, limits: tuple[float, float], step: float, value: float) -> None:
        self.value = value
        self._made = pieces.element("input", "lehr-slider", type="range", min=limits[0], max=limits[1], step=step)
        self._made.props.update({"value": value, "aria-label": label})

    def set(self, value: float) -> None:
        """Moves it."""
        self.value = value
        self._made.props["value"] = value

    def on_slid(self, act: Callable[[float], object]) -> None:
        """While it is moved."""
        self._listen("input", act, throttle=0.1)

    def on_done(self, act: Callable[[float], object]) -> None:
        """Where it was left."""
        self._listen("change", act)

    def _listen(self, event_name: str, act: Callable[[float], object], *, throttle: float = 0.0) -> None:
        def heard(event: GenericEventArguments) -> None:
            self.set(float(event.args["value"]))
            act(self.value)

        self._made.on(event_name, heard, throttle=throttle, js_handler="(event) => emit({value: event.target.value})")
