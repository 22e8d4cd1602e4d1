"""Trains any template on a tiny real set and says what came of it; for the tests beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lehr.hyperparameters import parse
from lehr.learn.bundle import Bundle, write_bundle
from lehr.learn.checkpoint import State
from lehr.learn.data.dataset import Data, build_data
from lehr.learn.data.packs import Packs
from lehr.learn.device import choose_device
from lehr.learn.evaluate import evaluate
from lehr.learn.events import EpochEnded, Noted
from lehr.learn.folder import read_folder
from lehr.learn.items import Item
from lehr.learn.loop import train
from lehr.learn.recipe import Recipe
from lehr.templates import find


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One training, over."""

    recipe: Recipe
    data: Data
    ends: tuple[EpochEnded, ...]
    states: tuple[State, ...]
    """At the end of each epoch."""
    notes: tuple[str, ...]

    @property
    def state(self) -> State:
        return self.states[-1]

    @property
    def metrics(self) -> dict[str, float]:
        """Of the last epoch."""
        return dict(self.ends[-1].metrics or {})

    def evaluated(self) -> Any:
        return evaluate(self.recipe, self.data, self.state)

    def written(self, folder: Path) -> Bundle:
        return write_bundle(self.recipe, self.data, self.state, self.evaluated(), folder)


def some_digits(folder: Path, *, every: int = 8, only: str = "0123456789") -> list[Item]:
    """Every `every`th digit of the kinds in `only`."""
    return [item for item in read_folder(folder)[::every] if item.positives <= set(only)]


def data_for(
    name: str, model_type: str, items: Sequence[Item], packs: Path, base: Path | None = None, **params: object
) -> Data:
    template = find(model_type, name)
    form = parse(template.form, params).form
    concepts = sorted({concept for item in items for concept in item.positives})
    return build_data(template.data_order(form, concepts, base=base), items, packs=Packs(packs))


def recipe_for(
    name: str, model_type: str, data: Data, folders: dict[str, Path] | None = None, **params: object
) -> Recipe:
    """`folders`: fields of Problem (base, earlier, weights)."""
    template = find(model_type, name)
    problem = replace(data.problem(choose_device("cpu", 2)), **(folders or {}))
    return template.recipe(parse(template.form, params).form, problem)


def learned(recipe: Recipe, data: Data, resume: State | None = None) -> Lesson:
    events = list(_with_states(train(recipe, data, resume)))
    return Lesson(
        recipe=recipe,
        data=data,
        ends=tuple(event for event, _ in events if isinstance(event, EpochEnded)),
        states=tuple(state for event, state in events if isinstance(event, EpochEnded) and state),
        notes=tuple(event.text for event, _ in events if isinstance(event, Noted)),
    )


def _with_states(events: Iterable[Any]) -> Iterable[tuple[Any, State | None]]:
    for event in events:
        yield event, event.state() if isinstance(event, EpochEnded) else None


def pictures_of(data: Data, indices: np.ndarray) -> list[np.ndarray]:
    return [data.pack.pixels(row) for row in data.rows_N[indices]]
