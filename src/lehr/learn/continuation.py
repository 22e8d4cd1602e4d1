"""Continuing from an earlier model of the same template: its weights, and of its head the rows of the same concepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lehr.errors import InvalidParams
from lehr.learn.bundle import Bundle, read_bundle
from lehr.learn.layouts import check_same_template

if TYPE_CHECKING:
    from torch import Tensor

    from lehr.learn.recipe import Learner, Recipe

HEAD = "head."
"""Names of tensors whose first dimension counts concepts begin with this."""


def continue_from(folder: Path, learner: Learner, recipe: Recipe) -> str:
    """Gives a learner the weights of a model folder; returns the sentence for the person.

    Raises InvalidParams when that model is of another template, or of a network of another size.
    """
    from safetensors.torch import load_file

    bundle = read_bundle(folder)
    check_same_template(bundle.template, recipe.template)
    rows = rows_of(recipe.problem.concepts, bundle)
    learner.take_over(load_file(folder / "model.safetensors"), rows)
    new = [concept for concept, row in zip(recipe.problem.concepts, rows, strict=True) if row is None]
    words = f"; new to it: {', '.join(new[:10])}{', …' * (len(new) > 10)}" if new else ""
    return f"Continuing from an earlier version with {len(bundle.concepts)} concepts{words}."


def rows_of(concepts: Sequence[str], bundle: Bundle) -> list[int | None]:
    """For each concept its number in the bundle, None where it is new."""
    numbers = {concept: number for number, concept in enumerate(bundle.concepts)}
    return [numbers.get(concept) for concept in concepts]


def with_rows_of(
    earlier: Mapping[str, Tensor], own: Mapping[str, Tensor], rows: Sequence[int | None]
) -> dict[str, Tensor]:
    """A whole network's tensors: the earlier ones, and in the head those of the concepts that it knew."""
    bodies = {key: value for key, value in own.items() if not key.startswith(HEAD)}
    wrong = [key for key, value in bodies.items() if key not in earlier or earlier[key].shape != value.shape]
    if wrong:
        raise InvalidParams(
            [
                f"The earlier version's network is not this one's: {len(wrong)} tensors have another size (first "
                f"{wrong[0]}). Give the hyperparameters that shape the network the same values as then."
            ]
        )
    heads = {key: value for key, value in own.items() if key.startswith(HEAD)}
    return {key: earlier[key] for key in bodies} | merged_rows(earlier, heads, rows)


def merged_rows(
    earlier: Mapping[str, Tensor], own: Mapping[str, Tensor], rows: Sequence[int | None]
) -> dict[str, Tensor]:
    """Head tensors [K, ...]: the earlier row where the concept had one, else the own."""
    merged = {}
    for key, value in own.items():
        result = value.clone()
        for number, row in enumerate(rows):
            if row is not None:
                result[number] = earlier[key][row]
        merged[key] = result
    return merged
