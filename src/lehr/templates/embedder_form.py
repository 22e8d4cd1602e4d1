"""The knobs that only embedders have."""

from __future__ import annotations

from collections.abc import Sequence

from lehr.hyperparameters import Form, knob
from lehr.templates.classifier_form import TrainingForm

MANY_CONCEPTS = 20
"""From here on a tenth of the concepts is kept out of the training unless something else is said."""

LONGEST_EMBEDDING = 4096
"""Twice as long as the longest pooled features here: a longer embedding could hold no more of a picture."""


class UnseenKnob(Form):
    """How an embedder is measured."""

    unseen_concepts: float | None = knob(None, minimum=0.0, maximum=0.5, placeholder="0.1 from 20 concepts on, else 0")
    """Share of the concepts that is kept out of the training, to measure how well the embedding tells apart what it has
    never seen."""

    def unseen_share(self, num_concepts: int) -> float:
        """The share, where it was not set too."""
        if self.unseen_concepts is not None:
            return self.unseen_concepts
        return 0.1 if num_concepts >= MANY_CONCEPTS else 0.0


class AngularKnobs(Form):
    """ArcFace, and the embedding that it shapes."""

    angular_scale: float | None = knob(
        None, minimum=16, maximum=128, step=16, placeholder="32; 64 from 1,000 concepts on"
    )
    """Radius of the sphere on which the embeddings lie for the loss: how sharply angles become probabilities."""
    angular_margin: float | None = knob(
        None, minimum=0.1, maximum=0.9, placeholder="0.5; 0.3 below 50 images per concept"
    )
    """Angle, in radians, by which a picture must be nearer to its own concept than to any other. It grows from 0 over
    the first part of the training."""
    embeddings_size: int = knob(512, minimum=2, maximum=LONGEST_EMBEDDING, step=1)
    """Length of the embedding. 128 to 256 suit fewer than 5,000 images."""
    angular_centers: int = knob(1, minimum=1, maximum=5, step=1)
    """Directions per concept: a picture counts as near as it is to the nearest; 2 or 3 make wrong labels harmless."""
    angular_margin_mode: str = knob("fixed", options=("fixed", "dynamic"))
    """"dynamic" gives rare concepts a wider margin (up to angular_margin) than frequent ones (down to 0.1)."""

    def scale(self, num_concepts: int) -> float:
        """The scale, where it was not set too."""
        return self.angular_scale or (32.0 if num_concepts < 1000 else 64.0)

    def margins(self, positives: Sequence[int]) -> list[float]:
        """One margin per concept, of `positives` training items each."""
        from lehr.learn.losses.arcface import dynamic_margins

        per_concept = sum(positives) / max(len(positives), 1)
        margin = self.angular_margin or (0.5 if per_concept >= 50 else 0.3)
        if self.angular_margin_mode == "dynamic":
            return dynamic_margins(positives, rare=margin)
        return [margin] * len(positives)


class AngularForm(UnseenKnob, TrainingForm, AngularKnobs):
    """Of embedders that learn by angles: exactly one concept is true of a picture."""

    @property
    def is_exclusive(self) -> bool:
        """Always."""
        return True
