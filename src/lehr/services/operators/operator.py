"""What a model type is that nobody trains: its parameters, what it takes and gives, and the function that it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lehr.errors import InvalidParams
from lehr.protocol import resources_pb2
from lehr.protocol.structs import Plain, from_struct
from lehr.services.operators.item import Item, Scene

Values = Mapping[str, Any]
Kind = Literal["number", "enum", "text", "texts", "mapping"]
_WORDS = {"number": "a number", "text": "a text", "texts": "a list of texts", "mapping": "an object of texts"}


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One value of `output_info.params`."""

    name: str
    kind: Kind
    default: Plain
    sentence: str
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    options: Mapping[str, int] | None = None
    """Of an enum: what clients may send, as text or as its number."""

    def read(self, given: Plain) -> Any:
        """The value to use. Raises ValueError with a sentence."""
        if given is None or given == "":
            return self.default
        if self.kind == "enum":
            return self._option(given)
        if self.kind == "number":
            return self._number(given)
        if not _fits(self.kind, given):
            raise ValueError(f"{self.name} is {_WORDS[self.kind]}; given {given!r}.")
        return given

    def _option(self, given: Plain) -> str:
        assert self.options is not None, "an enum has options"
        for name, number in self.options.items():
            if given == name or (isinstance(given, (int, float)) and given == number):
                return name
        raise ValueError(f"{self.name} is one of {', '.join(self.options)}; given {given!r}.")

    def _number(self, given: Plain) -> float:
        low, high = self.minimum, self.maximum
        is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
        if not is_number or (low is not None and given < low) or (high is not None and given > high):  # type: ignore[operator]
            bounds = f" from {low:g}" if low is not None else ""
            bounds += f" to {high:g}" if high is not None else ""
            raise ValueError(f"{self.name} is a number{bounds}; given {given!r}.")
        return float(given)  # type: ignore[arg-type]


def _fits(kind: Kind, given: Plain) -> bool:
    if kind == "text":
        return isinstance(given, str)
    if kind == "texts":
        return isinstance(given, list) and all(isinstance(text, str) for text in given)
    return isinstance(given, Mapping) and all(isinstance(text, str) for text in given.values())


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A version's configuration, read."""

    values: Values
    """Of the parameters, by name."""
    concepts: Sequence[resources_pb2.Concept] = ()
    """`output_info.data.concepts`."""


Run = Callable[[Item, Scene, Settings], Item]


@dataclass(frozen=True, kw_only=True)
class Operator:
    """A model type whose models are plain functions of what other nodes give."""

    model_type_id: str
    title: str
    description: str
    input_fields: tuple[str, ...]
    """As ListModelTypes shows them."""
    output_fields: tuple[str, ...]
    parameters: tuple[Parameter, ...] = ()
    has_concepts: bool = False
    """Whether `output_info.data.concepts` configures it."""
    run: Run
    aliases: tuple[str, ...] = ()
    """Other ids of the same type."""

    def settings(self, info: resources_pb2.OutputInfo) -> Settings:
        """Reads a version's `output_info`. Raises InvalidParams with every problem at once."""
        given = {**from_struct(info.output_config.model_metadata), **from_struct(info.params)}
        known = {parameter.name for parameter in self.parameters}
        problems = [
            f"output_info.params.{name} means nothing to a model of type {self.model_type_id}; it knows: "
            f"{', '.join(sorted(known)) or 'none'}."
            for name in sorted(set(given) - known)
        ]
        values = {}
        for parameter in self.parameters:
            try:
                values[parameter.name] = parameter.read(given.get(parameter.name))
            except ValueError as error:
                problems.append(f"output_info.params.{error}")
        if problems:
            raise InvalidParams(problems)
        return Settings(values=values, concepts=tuple(info.data.concepts))
