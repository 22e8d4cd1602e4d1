"""What a template is: a form of hyperparameters, and a recipe made from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lehr.hyperparameters import Form
from lehr.learn.data.order import DataOrder

if TYPE_CHECKING:
    from lehr.learn.problem import Problem
    from lehr.learn.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Template:
    """One trainable thing of the catalogue."""

    name: str
    """The id that clients send."""
    model_type: str
    """"visual-classifier", "visual-detector" or "visual-embedder"."""
    title: str
    description: str
    """What it is, in one or two sentences."""
    when: str
    """When to choose it."""
    measured: str
    """What it reached, on what, on which machine, when."""
    form: type[Form]
    recipe: Callable[[Any, Problem], Recipe]
    """(form, problem) -> recipe; imports torch only when called."""
    aliases: tuple[str, ...] = ()
    """Other spellings that clients have used."""
    is_recommended: bool = False

    def data_order(self, form: Form, concepts: Sequence[str], closed_environment: bool = False) -> DataOrder:
        """What a training with this form wants from its data."""
        return DataOrder(
            concepts=tuple(concepts),
            image_size=form.image_size,  # type: ignore[attr-defined]
            needs_boxes=self.model_type == "visual-detector",
            exclusive=getattr(form, "logreg", 1) == 0,
            closed_environment=closed_environment,
            invalid_data_tolerance_percent=getattr(form, "invalid_data_tolerance_percent", 5.0),
        )
