"""What a template is: a form of hyperparameters, and a recipe made from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lehr.hyperparameters import Form
from lehr.learn.bundle import read_bundle
from lehr.learn.data.order import DataOrder
from lehr.templates.embedder_form import AngularForm, UnseenKnob

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
    weights: str = ""
    """Name of the pretrained weights that it starts from where they can be had; "": it starts from random ones."""
    backbone: str = ""
    """The only one that weights for its base may have; "": its form says, or any will do, or it takes none."""
    aliases: tuple[str, ...] = ()
    """Other spellings that clients have used."""
    is_recommended: bool = False
    needs_name: bool = True
    """False for the only one of a model type whose clients name no template."""
    follows_base: bool = False
    """Its pictures are as large as those of the trained model that it builds on."""

    def backbone_with(self, form: Form) -> str:
        """The backbone that weights for its base must have; "": any."""
        family = getattr(form, "family", None)
        return family.backbone if family else self.backbone

    def data_order(
        self, form: Form, concepts: Sequence[str], closed_environment: bool = False, base: Path | None = None
    ) -> DataOrder:
        """What a training with this form, on the trained model in the folder `base` if any, wants from its data."""
        follows = base if self.follows_base else None
        return DataOrder(
            concepts=tuple(concepts),
            image_size=read_bundle(follows).preprocessing.image_size if follows else form.image_size,  # type: ignore
            needs_boxes=self.model_type == "visual-detector",
            exclusive=getattr(form, "is_exclusive", False),
            is_by_angles=is_by_angles(form),
            closed_environment=closed_environment,
            unseen_share=form.unseen_share(len(concepts)) if isinstance(form, UnseenKnob) else 0.0,
            invalid_data_tolerance_percent=getattr(form, "invalid_data_tolerance_percent", 5.0),
        )


def is_by_angles(form: Form) -> bool:
    """Whether a training with this form learns by angles, which no hyperparameter of it can change."""
    return isinstance(form, AngularForm)
