"""The form of a training: a control for every hyperparameter that is advertised, checked as the server will.

It says what is wrong as it is typed; nothing is stored before the training starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from lehr.errors import InvalidModel, InvalidParams
from lehr.protocol import resources_pb2
from lehr.protocol.structs import from_value
from lehr.web import pieces
from lehr.web.slider import Slider

Field = resources_pb2.ModelTypeField
PARAMS = "train_info.params."
UNSET = "(not set)"
"""The text of a hyperparameter that the model sets and that shall not be set."""
_BESIDE = ("template", "dataset_id", "dataset_version_id")
_FIRST = (
    "image_size",
    "batch_size",
    "num_epochs",
    "lrate",
    "base_gradient_multiplier",
    "base_embed_model",
    "average_horizontal_flips",
    "coarse_clusters",
    "embeddings_size",
)
"""Shown at once; the others are behind a heading."""
_MOST_STOPS = 2000
"""A slider with more is none."""


def knobs_of(fields: Sequence[resources_pb2.ModelTypeField]) -> list[resources_pb2.ModelTypeField]:
    """The hyperparameters among a type's fields."""
    return [each for each in fields if each.path.startswith(PARAMS) and name_of(each) not in _BESIDE]


def name_of(field: resources_pb2.ModelTypeField) -> str:
    """`num_epochs` of `train_info.params.num_epochs`."""
    return field.path.removeprefix(PARAMS)


def default_of(field: resources_pb2.ModelTypeField) -> Any:
    """What holds where nothing is given; None: the placeholder says what happens."""
    return from_value(field.default_value) if field.HasField("default_value") else None


def read(field: resources_pb2.ModelTypeField, text: str) -> Any:
    """A value as it is sent, from how it stands in the address; what is no number stays text, for the check to name."""
    if text == UNSET:
        return None
    if field.field_type == Field.BOOLEAN:
        return text in ("true", "True", "1")
    if field.field_type in (Field.RANGE, Field.NUMBER):
        try:
            return float(text)
        except ValueError:
            return text
    return text


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What the server would say of these values."""

    problems: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


def checked(check: Callable[[], Sequence[str]]) -> Checked:
    """`check` answers notices or refuses."""
    try:
        return Checked(notices=tuple(check()))
    except InvalidParams as error:
        return Checked(problems=tuple(error.problems))
    except InvalidModel as error:
        return Checked(problems=(error.details,))


def text_of(value: Any) -> str:
    """A value as it stands in its control, and in the address; `read` makes the very same of it again."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(text_of(each) for each in value)
    if isinstance(value, int | float):
        return f"{value:.0f}" if float(value).is_integer() else repr(value)
    return str(value)


class Form:
    """The controls. `changed` hears a knob's name and its new text, empty where it is as it was at the start."""

    def __init__(
        self,
        fields: Sequence[resources_pb2.ModelTypeField],
        start: Mapping[str, Any],
        given: Mapping[str, str],
        changed: Callable[[str, str], None],
    ) -> None:
        """`start`: what the model sets; for the others the start is the default. `given`: text of what was changed."""
        self._start = start
        self._changed = changed
        self._problems: dict[str, ui.element] = {}
        first = [field for field in fields if name_of(field) in _FIRST] or list(fields)
        rest = [field for field in fields if field not in first]
        for field in first:
            self._knob(field, given.get(name_of(field), ""))
        if rest:
            with pieces.element("details", "lehr-details") as more:
                more.props["open"] = any(name_of(field) in {**start, **given} for field in rest)
                pieces.text(f"All other settings ({len(rest)})", tag="summary")
                for field in rest:
                    self._knob(field, given.get(name_of(field), ""))

    def tell(self, problems: Sequence[str]) -> list[str]:
        """Shows each problem beside its knob; answers those that belong to none."""
        left = list(problems)
        for name, place in self._problems.items():
            own = [problem for problem in left if problem.split(" ", 1)[0] == name]
            left = [problem for problem in left if problem not in own]
            place.clear()
            with place:
                for problem in own:
                    pieces.text(f"{problem}.", classes="lehr-problem lehr-small")
        return left

    def _knob(self, field: resources_pb2.ModelTypeField, given: str) -> None:
        name = name_of(field)
        with pieces.element("div", "lehr-knob"):
            with pieces.element("div"):
                pieces.text(name, classes="lehr-knob-name")
                pieces.text(field.description, classes="lehr-quiet lehr-small")
            with pieces.element("div"):
                with pieces.element("div", "lehr-knob-control"):
                    self._control(field, name, given)
                self._problems[name] = pieces.element("div").props("aria-live=polite")

    def _control(self, field: resources_pb2.ModelTypeField, name: str, given: str) -> None:
        if field.field_type == Field.BOOLEAN:
            self._switch(field, name, given)
        elif field.field_type == Field.ENUM:
            self._enum(field, name, given)
        elif _is_slider(field):
            self._slider(field, name, given)
        else:
            self._line(field, name, given)

    def _at_start(self, field: resources_pb2.ModelTypeField) -> Any:
        return self._start.get(name_of(field), default_of(field))

    def _now(self, field: resources_pb2.ModelTypeField, given: str) -> Any:
        """What holds: the default where the model's own value shall not be set."""
        if given == UNSET:
            return default_of(field)
        return read(field, given) if given else self._at_start(field)

    def _switch(self, field: resources_pb2.ModelTypeField, name: str, given: str) -> None:
        start = bool(self._at_start(field))
        made = ui.switch(value=bool(self._now(field, given)))
        made.props["aria-label"] = name
        made.on_value_change(lambda event: self._changed(name, "" if event.value == start else text_of(event.value)))

    def _enum(self, field: resources_pb2.ModelTypeField, name: str, given: str) -> None:
        options = [option.id for option in field.model_type_enum_options]
        start, now = self._at_start(field), self._now(field, given)
        made = pieces.choice(options, name, now if now in options else start)
        made.on_value_change(lambda event: self._changed(name, "" if event.value == start else str(event.value or "")))

    def _line(self, field: resources_pb2.ModelTypeField, name: str, given: str) -> ui.input:
        start = self._at_start(field)
        shown = "" if start is None else text_of(start)
        cleared = UNSET if name in self._start else ""
        text = "" if given == UNSET else given or shown
        made = ui.input(value=text, placeholder=field.placeholder).props("outlined dense debounce=300")
        made.classes("lehr-field lehr-knob-line").props["aria-label"] = name

        def changed(text: str) -> None:
            self._changed(name, cleared if not text else "" if text == shown else text)

        made.on_value_change(lambda event: changed(str(event.value or "")))
        return made

    def _slider(self, field: resources_pb2.ModelTypeField, name: str, given: str) -> None:
        limits = field.model_type_range_info
        low, high = _limit(limits.min), _limit(limits.max)
        step = _limit(limits.step) or (high - low) / 100
        start = self._now(field, given)
        inside = start if isinstance(start, int | float) and low <= start <= high else low
        slider = Slider(f"{name}, slider", limits=(low, high), step=step, value=inside)
        line = self._line(field, name, given)

        def typed(text: str) -> None:
            value = read(field, text) if text else default_of(field)
            if isinstance(value, float) and low <= value <= high and value != slider.value:
                slider.set(value)

        slider.on_done(lambda value: line.set_value(text_of(_limit(value))))
        line.on_value_change(lambda event: typed(str(event.value or "")))


def _is_slider(field: resources_pb2.ModelTypeField) -> bool:
    """A bounded number with a default to stand at: where nothing is set, a slider would have no place."""
    if field.field_type != Field.RANGE or default_of(field) is None:
        return False
    limits = field.model_type_range_info
    return not limits.step or (limits.max - limits.min) / limits.step <= _MOST_STOPS


def _limit(value: float) -> float:
    """Single precision brought back to what was meant: 0.1 of 0.10000000149."""
    return float(f"{value:.6g}")
