"""How a hyperparameter is declared, checked (all problems at once) and described; knows no protobuf and no web page.

A template's form is one frozen class; each knob is one line with its default, range and step, and a sentence below:

    class Form(hyperparameters.Form):
        num_epochs: int = knob(10, minimum=1, maximum=200, step=1)
        "Passes over the training items."

Everything else (the check, the advertised fields, the sliders, the reference page) is derived from that line.
"""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from lehr.errors import InvalidParams

RATES = ("lrate", "per_item_lrate", "per_128_lrate")
"""Three ways to say one thing: lrate = per_item_lrate * batch_size = per_128_lrate * batch_size / 128."""

_MOST_SLIDER_STEPS = 1000
"""A number with more of them in its range is typed; its limits are only there to catch slips."""

FOR_DETECTORS = "it is a setting of detectors, which return boxes"
"""Why a classifier or embedder refuses a detector's knob."""


class Form(BaseModel):
    """Values of one template's hyperparameters, checked. Frozen; a value outside the declaration cannot exist."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    meaningless: ClassVar[Mapping[str, str]] = {}
    """Names that are known elsewhere but mean nothing here, each with the reason."""

    def problems(self) -> tuple[str, ...]:
        """What cannot be, though each value alone is good; one sentence each."""
        return ()

    def notices(self) -> tuple[str, ...]:
        """What should be known of values that go together; one sentence each."""
        return ()


FormT = TypeVar("FormT", bound=Form)


@dataclass(frozen=True, kw_only=True)
class Knob:
    """One hyperparameter as it is advertised."""

    name: str
    kind: str
    """"range" (a number for a slider), "number", "boolean", "string", "enum" or "numbers" (a list of numbers, or a text
    of them with commas; the limits are those of each)."""
    is_integer: bool
    default: float | bool | str | None
    """None: not set; what happens then is said in `sentence`."""
    minimum: float | None
    maximum: float | None
    step: float | None
    options: tuple[str, ...]
    sentence: str
    placeholder: str
    """Never empty: published clients rely on it."""
    aliases: tuple[str, ...]


class Parsed(NamedTuple):
    """A good form, and what was changed or should be known about it, one sentence each."""

    form: Any
    notices: tuple[str, ...]


def knob(default: Any, **limits: Any) -> Any:
    """Declares one hyperparameter. `limits`: minimum, maximum, step, options, placeholder, aliases (all optional)."""
    unknown = set(limits) - {"minimum", "maximum", "step", "options", "placeholder", "aliases"}
    assert not unknown, f"knob() takes no {unknown}"
    of_each = isinstance(default, tuple)
    return Field(
        default=default,
        ge=None if of_each else limits.get("minimum"),
        le=None if of_each else limits.get("maximum"),
        json_schema_extra={"knob": limits},
    )


def describe(form_type: type[Form]) -> tuple[Knob, ...]:
    """The form's knobs in the order of their declaration, base classes first."""
    return tuple(_described(name, field) for name, field in form_type.model_fields.items())


def parse(form_type: type[FormT], params: Mapping[str, object]) -> Parsed:
    """Checks what a client sent. Numbers may come as doubles (2.0 is a good integer); None means not given.

    Raises InvalidParams with one sentence per problem, all of them at once.
    """
    knobs = {knob.name: knob for knob in describe(form_type)}
    problems: list[str] = []
    notices: list[str] = []
    values: dict[str, object] = {}
    for given_name, given in params.items():
        name = _known_name(given_name, knobs)
        if name is None:
            problems.append(_unknown(given_name, form_type, knobs))
        elif name in values:
            problems.append(f"{name} is given twice (as {given_name!r} too); give it once")
        elif given is not None:
            _take(_checked(knobs[name], given), name, values, problems, notices)
    if not problems:
        problems += _settle_rates(knobs, values, notices)
    if problems:
        raise InvalidParams(problems)
    form = form_type(**values)
    if form.problems():
        raise InvalidParams(form.problems())
    return Parsed(form, (*notices, *form.notices()))


def names_of(form_type: type[Form], given: Iterable[str]) -> dict[str, str]:
    """Each of a client's spellings with the name of the hyperparameter that it means; itself where it means none."""
    knobs = {knob.name: knob for knob in describe(form_type)}
    return {spelling: _known_name(spelling, knobs) or spelling for spelling in given}


def resolved_lrate(form: Form) -> float:
    """Step size of one full batch: of the three rates, the one that was given, else the one with a default."""
    batch_size = float(getattr(form, "batch_size", 1))
    for name in sorted(RATES, key=lambda name: name not in form.model_fields_set):
        value = getattr(form, name, None)
        if value is not None:
            return value * _rate_factor(name, batch_size)
    raise AssertionError(f"{type(form).__name__} declares no rate with a default")


class _Checked(NamedTuple):
    """The usable value or the problem with it, and a notice if it was changed."""

    value: object = None
    problem: str = ""
    notice: str = ""


def _take(checked: _Checked, name: str, values: dict[str, object], problems: list[str], notices: list[str]) -> None:
    if checked.problem:
        problems.append(checked.problem)
        return
    values[name] = checked.value
    if checked.notice:
        notices.append(checked.notice)


def _described(name: str, field: FieldInfo) -> Knob:
    extra = field.json_schema_extra
    limits: Mapping[str, Any] = extra["knob"] if isinstance(extra, dict) else {}  # type: ignore[assignment]
    kind_type = _plain_type(field.annotation)
    assert field.description, f"{name} has no sentence under it"
    return Knob(
        name=name,
        kind=_kind(kind_type, limits),
        is_integer=kind_type is int,
        default=_as_text(field.default) if isinstance(field.default, tuple) else field.default,
        minimum=limits.get("minimum"),
        maximum=limits.get("maximum"),
        step=limits.get("step"),
        options=tuple(limits.get("options", ())),
        sentence=" ".join(field.description.split()),
        placeholder=str(limits.get("placeholder") or ("not set" if field.default is None else _shown(field.default))),
        aliases=tuple(limits.get("aliases", ())),
    )


def _plain_type(annotation: Any) -> type:
    """`int` for int and for int | None, `tuple` for a list of numbers."""
    if get_origin(annotation) is tuple:
        return tuple
    if get_origin(annotation) in (Union, types.UnionType):
        return next(part for part in get_args(annotation) if part is not type(None))
    return annotation


def _kind(kind_type: type, limits: Mapping[str, Any]) -> str:
    if kind_type is bool:
        return "boolean"
    if kind_type is tuple:
        return "numbers"
    if kind_type is str:
        return "enum" if limits.get("options") else "string"
    low, high, step = (limits.get(name) for name in ("minimum", "maximum", "step"))
    if low is None or high is None:
        return "number"
    return "number" if step and (high - low) / step > _MOST_SLIDER_STEPS else "range"


def _normalised(name: str) -> str:
    return "_".join(name.strip().lower().replace("-", " ").replace("_", " ").split())


def _known_name(given: str, knobs: Mapping[str, Knob]) -> str | None:
    wanted = _normalised(given)
    return next((name for name, knob in knobs.items() if wanted == name or wanted in knob.aliases), None)


def _unknown(given: str, form_type: type[Form], knobs: Mapping[str, Knob]) -> str:
    reason = form_type.meaningless.get(_normalised(given))
    if reason:
        return f"{given} has no meaning for this template: {reason}; leave it out"
    near = difflib.get_close_matches(_normalised(given), knobs, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{given!r} is no hyperparameter of this template; {hint}there are: {', '.join(knobs)}"


def _checked(knob: Knob, given: object) -> _Checked:
    if knob.kind == "boolean":
        return _checked_boolean(knob, given)
    if knob.kind == "numbers":
        return _checked_numbers(knob, given)
    if knob.kind in ("string", "enum"):
        return _checked_text(knob, given)
    return _checked_number(knob, given)


def _checked_boolean(knob: Knob, given: object) -> _Checked:
    if isinstance(given, bool | int | float) and given in (0, 1):
        return _Checked(bool(given))
    return _Checked(problem=f"{knob.name} is {_shown(given)}; it must be true or false")


def _checked_text(knob: Knob, given: object) -> _Checked:
    if not isinstance(given, str):
        return _Checked(problem=f"{knob.name} is {_shown(given)}; it must be a text")
    if not knob.options:
        return _Checked(given)
    match = next((option for option in knob.options if option.lower() == given.strip().lower()), None)
    if match is None:
        return _Checked(problem=f"{knob.name} is {given!r}; it must be one of: {', '.join(knob.options)}")
    return _Checked(match)


def _checked_numbers(knob: Knob, given: object) -> _Checked:
    """A list of numbers, or a text of them with commas; each within the knob's limits."""
    parts: Any = given.strip("[]() ").split(",") if isinstance(given, str) else given
    try:
        values = tuple(math.nan if isinstance(part, bool) else float(part) for part in parts)
    except (TypeError, ValueError):
        return _Checked(problem=f"{knob.name} is {_shown(given)}; it must be a list of numbers such as {knob.default}")
    low, high = knob.minimum or -math.inf, knob.maximum or math.inf
    if not values or not all(low <= value <= high for value in values):
        return _Checked(problem=f"{knob.name} is {_shown(given)}; it must be numbers{_range(knob)}, at least one")
    return _Checked(tuple(dict.fromkeys(values)))


def _as_text(values: tuple[float, ...]) -> str:
    return ", ".join(_shown(value) for value in values)


def _checked_number(knob: Knob, given: object) -> _Checked:
    """A finite number inside the range; off the step it is rounded, with a notice; half an integer is refused.

    True and false are 1 and 0 where the range ends there, and no numbers elsewhere.
    """
    is_truth = isinstance(given, bool) and (knob.minimum, knob.maximum) != (0, 1)
    if is_truth or not isinstance(given, bool | int | float):
        return _Checked(problem=f"{knob.name} is {_shown(given)}; it must be {_a_number(knob)}{_range(knob)}")
    value = float(given)
    if not math.isfinite(value):
        return _Checked(problem=f"{knob.name} is {value}; it must be a finite number{_range(knob)}")
    low, high = knob.minimum, knob.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        nearest = _shown(low if low is not None and value < low else high)
        return _Checked(problem=f"{knob.name} is {_shown(value)}; it must be{_range(knob)}; the nearest is {nearest}")
    if knob.is_integer and not value.is_integer():
        good = _shown(_on_step(knob, value))
        return _Checked(
            problem=f"{knob.name} is {_shown(value)}; it must be a whole number{_range(knob)}; the nearest is {good}"
        )
    return _stepped(knob, value)


def _stepped(knob: Knob, value: float) -> _Checked:
    near = _on_step(knob, value)
    usable = int(near) if knob.is_integer else near
    if abs(near - value) <= 1e-9 * max(1.0, abs(value)):
        return _Checked(usable)
    notice = f"{knob.name} was rounded from {_shown(value)} to {_shown(usable)}: its step is {_shown(knob.step)}"
    return _Checked(usable, notice=notice)


def _on_step(knob: Knob, value: float) -> float:
    """The nearest value that lies whole steps above the minimum, inside the range."""
    if not knob.step:
        return value
    low = knob.minimum or 0.0
    steps = math.floor((value - low) / knob.step + 0.5)
    if knob.maximum is not None:
        steps = min(steps, math.floor((knob.maximum - low) / knob.step + 1e-9))
    return round(low + max(steps, 0) * knob.step, 12)


def _settle_rates(knobs: Mapping[str, Knob], values: dict[str, object], notices: list[str]) -> list[str]:
    """Leaves at most one of the three rates in `values`; returns the problem if two of them disagree.

    Clients fill a form with every advertised default before they change one line: where another rate was changed,
    one that still equals its default is that echo, and yields.
    """
    given = [name for name in RATES if name in values]
    changed = [name for name in given if values[name] != knobs[name].default]
    for name in given:
        if changed and name not in changed:
            if not _agree(name, changed[0], knobs, values):
                notices.append(f"{changed[0]} {_shown(values[changed[0]])} replaces the default of {name}")
            del values[name]
    for other in changed[1:]:
        if not _agree(other, changed[0], knobs, values):
            return [_disagreement(changed[0], other, values)]
        del values[other]
    kept = changed[:1] or given[:1]
    if kept and values[kept[0]] == 0:
        notices.append(f"{kept[0]} is 0: nothing will be learned, the network is only evaluated")
    return []


def _agree(one: str, other: str, knobs: Mapping[str, Knob], values: Mapping[str, object]) -> bool:
    batch_size = _number(values.get("batch_size", knobs["batch_size"].default))
    rates = [_number(values[name]) * _rate_factor(name, batch_size) for name in (one, other)]
    return math.isclose(*rates, rel_tol=1e-6)


def _disagreement(one: str, other: str, values: Mapping[str, object]) -> str:
    return (
        f"{one} {_shown(values[one])} and {other} {_shown(values[other])} disagree: lrate = per_item_lrate * batch_size"
        " = per_128_lrate * batch_size / 128; give one of them"
    )


def _rate_factor(name: str, batch_size: float) -> float:
    return {"lrate": 1.0, "per_item_lrate": batch_size, "per_128_lrate": batch_size / 128}[name]


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)


def _a_number(knob: Knob) -> str:
    return "a whole number" if knob.is_integer else "a number"


def _range(knob: Knob) -> str:
    """ " from 1 to 200 in steps of 1", as far as it is known."""
    words = ""
    if knob.minimum is not None and knob.maximum is not None:
        words = f" from {_shown(knob.minimum)} to {_shown(knob.maximum)}"
    elif knob.minimum is not None:
        words = f" at least {_shown(knob.minimum)}"
    return words + (f" in steps of {_shown(knob.step)}" if words and knob.step else "")


def _shown(value: object) -> str:
    """As a person writes it: 2 for 2.0, 0.5, true, 'text'."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:.10g}"
    if isinstance(value, tuple):
        return _as_text(value)
    return repr(value)
