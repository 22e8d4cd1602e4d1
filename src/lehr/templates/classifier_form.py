"""The knobs that every classifier has, and what they mean: the seeds' first page, then ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lehr.hyperparameters import FOR_DETECTORS, Form, knob
from lehr.learn.data.order import MOST_ITEMS
from lehr.learn.schedule import Steps
from lehr.templates.step_notices import step_notices

DETECTOR_KNOBS = {
    name: FOR_DETECTORS
    for name in (
        "anchor_ratios",
        "detection_score_threshold",
        "detection_threshold",
        "use_focal_loss",
        "use_perclass_regression",
    )
}


class TrainingForm(Form):
    """Shared by all that learn from labelled pictures; a template redeclares what differs and adds its own."""

    meaningless: ClassVar[Mapping[str, str]] = DETECTOR_KNOBS

    image_size: int = knob(256, minimum=32, maximum=1024, step=16)
    """Size of the training images: their shorter side in pixels. Smaller is faster, larger shows more detail."""
    batch_size: int = knob(64, minimum=1, maximum=128, step=1)
    """Number of images in one update of the network."""
    num_epochs: int = knob(20, minimum=1, maximum=200, step=1)
    """Total number of epochs: passes over the training items (or over num_items_per_epoch of them)."""
    init_epochs: int | None = knob(None, minimum=1, maximum=200, step=1, placeholder="step_epochs, else no drop")
    """Number of epochs to run at the initial learning rate, before its first drop; not set: step_epochs, and without
    either the rate does not drop."""
    step_epochs: int | None = knob(None, minimum=1, maximum=200, step=1, placeholder="one drop, after init_epochs")
    """Number of epochs between drops of the learning rate; not set: it drops once, after init_epochs."""
    lrate: float | None = knob(None, minimum=0.0, placeholder="batch_size * per_item_lrate")
    """Learning rate: the step size of one batch. Give this, per_item_lrate or per_128_lrate."""
    per_item_lrate: float | None = knob(None, minimum=0.0, placeholder="lrate / batch_size")
    """Learning rate per item: lrate = batch_size * per_item_lrate."""
    per_128_lrate: float | None = knob(None, minimum=0.0, placeholder="128 * per_item_lrate")
    """Learning rate per 128 items: lrate = per_128_lrate * (batch_size / 128)."""
    num_items_per_epoch: int = knob(0, minimum=0, maximum=MOST_ITEMS, step=1)
    """Number of training items that make an epoch; 0 means as many as there are. The next epoch goes on where this one
    stopped, so none is left out."""
    test_freq: int = knob(1, minimum=0, maximum=200, step=1, aliases=("test_every",))
    """Number of epochs between evaluations on the held-out items; 0 evaluates only after the last."""
    average_horizontal_flips: bool = knob(False)
    """Mirror training images with probability 0.5, and average the predictions of image and mirror. Leave it off where
    left and right differ, as in text."""
    flip_probability: float | None = knob(
        None, minimum=0.0, maximum=1.0, step=0.01, placeholder="0.5 if average_horizontal_flips, else 0"
    )
    """Probability that a training image is mirrored; not set: 0.5 with average_horizontal_flips, else 0."""
    inference_crop_type: str = knob("sorta2", options=("sorta2", "center", "full"))
    """What is looked at when predicting: both ends of the longer side, averaged (sorta2), the center, or the whole
    picture at once (full), which finds what is anywhere in it and takes longer where pictures differ in shape."""
    lrate_decay: float | None = knob(None, minimum=0.0, maximum=1.0, placeholder="max(0.1, 10^(-3 / number of drops))")
    """Factor of the learning rate at each drop."""
    balanced_sampling: bool = knob(False)
    """Draw equally from every concept, so that rare ones are seen as often as frequent ones."""
    seed: int = knob(0, minimum=0, maximum=2**31 - 1, step=1)
    """Same data, same form, same seed, same machine: same weights."""
    invalid_data_tolerance_percent: float = knob(5.0, minimum=0.0, maximum=100.0, step=0.1)
    """More unreadable items than this percentage end the training with a list of them."""

    @property
    def training_flip_probability(self) -> float:
        """What the two mirroring knobs come to."""
        if self.flip_probability is not None:
            return self.flip_probability
        return 0.5 if self.average_horizontal_flips else 0.0

    @property
    def steps(self) -> Steps:
        """How the learning rate drops."""
        return Steps.over(self.num_epochs, init=self.init_epochs, step=self.step_epochs, decay=self.lrate_decay)

    def notices(self) -> tuple[str, ...]:
        """About drops of the learning rate that do not come."""
        return step_notices(self, self.steps, self.num_epochs)


class ActivationKnob(Form):
    """How concepts exclude one another; not for those that are trained by angles."""

    logreg: int = knob(1, minimum=0, maximum=1, step=1)
    """Whether to use sigmoid units (logreg=1: several concepts may be true of a picture) or softmax (logreg=0: exactly
    one is, and the probabilities sum to 1)."""

    @property
    def is_exclusive(self) -> bool:
        """True if exactly one concept is true of a picture."""
        return self.logreg == 0

    @property
    def activation(self) -> str:
        """ "sigmoid" or "softmax"."""
        return "sigmoid" if self.logreg else "softmax"


class ClassifierForm(TrainingForm, ActivationKnob):
    """Shared by all classifiers."""
