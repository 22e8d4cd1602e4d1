"""What the tables of PATCH have in common: a noun's routes, and the comparison of what is there with what should be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

APP = "/v2/users/lehr/apps/patching"
MERGE, OVERWRITE, REMOVE = "merge", "overwrite", "remove"
ABSENT = None
REFUSED = object()


@dataclass(frozen=True, kw_only=True)
class Noun:
    """Where one kind of thing is made, changed and read."""

    many: str
    """The list's name in requests and answers."""
    one: str
    """The single one's name in the answer of the call that reads it."""
    within: str = APP
    """The path of the thing it belongs to."""
    path: str = ""
    """Its own path under that, where it is not the list's name."""
    base: dict = field(default_factory=dict)
    """What it cannot be made without."""
    read: Callable[[dict], str] = lambda made: made["id"]
    """The last part of the path that reads it."""

    @property
    def place(self) -> str:
        return f"{self.within}/{self.path or self.many}"


def joined(*parts: dict) -> dict:
    """One object of several, the later ones winning."""
    whole: dict = {}
    for part in parts:
        for name, value in part.items():
            inner = whole.get(name)
            whole[name] = joined(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return whole


def assert_within(expected, actual, path="") -> None:
    """Everything expected is there; lists have exactly the entries expected."""
    if isinstance(expected, dict):
        for name, value in expected.items():
            if value == {} and path.endswith("metadata"):
                assert not actual.get(name), f"{path}.{name} is {actual[name]}"
            elif value is ABSENT:
                assert name not in actual
            else:
                assert name in actual, f"{path}.{name} is not in {actual}"
                assert_within(value, actual[name], f"{path}.{name}")
    elif isinstance(expected, list):
        assert len(expected) == len(actual), f"{path}: {actual}"
        for number, (one, other) in enumerate(zip(expected, actual, strict=True)):
            assert_within(one, other, f"{path}[{number}]")
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected), path
    else:
        assert actual == expected, path
