"""A small network for small pictures, trained from scratch in seconds to minutes; the hello world of deep training.

Network and recipe after airbench94 (arXiv 2404.00498), in our own code; see learn/nets/airbench.py.

Measured: scikit-learn's 1797 digits, 359 of them held out, seed 0, all defaults: accuracy 0.994, 27 s with evaluation
and export; with width_multiplier 0.25: accuracy 0.989 (2 cores of an AMD EPYC (Zen 4), no GPU, 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from lehr.hyperparameters import knob, resolved_lrate
from lehr.learn.schedule import Schedule, Triangle
from lehr.templates.classifier_form import DETECTOR_KNOBS, ClassifierForm
from lehr.templates.template import Template

if TYPE_CHECKING:
    from torch import nn

    from lehr.learn.learners.pixels import PixelLearner, Preparation
    from lehr.learn.problem import Problem
    from lehr.learn.recipe import Recipe

_WHITENING_PIXELS = 5000 * 32**2
"""Of the pictures that the first layer is whitened by; a float64 for every number of their 2 x 2 patches is 0.5 GB."""
_WHITENING_SIDE = 128
"""Of larger pictures their middle serves: what a 2 x 2 patch looks like is told by some hundred of them together."""
_SMOOTHING = 0.2


class Cifar10Form(ClassifierForm):
    """The advertised knobs of classification_cifar10_v1 with their public ranges; num_epochs needs no 65."""

    meaningless: ClassVar[Mapping[str, str]] = {
        **DETECTOR_KNOBS,
        "base_gradient_multiplier": "the network has no pre-initialised base, all of it starts from scratch",
        "pretrained_weights": "the network has no pre-initialised base, all of it starts from scratch",
    }

    num_gpus: int = knob(1, minimum=0, maximum=1, step=1)
    """Accepted for old clients; a GPU is used when there is one."""
    image_size: int = knob(32, minimum=32, maximum=1024, step=16)
    """Size of the images: their shorter side in pixels. Training reads random crops of this size."""
    batch_size: int = knob(128, minimum=1, maximum=128, step=1)
    """Number of images in one update of the network."""
    num_epochs: int = knob(10, minimum=1, maximum=200, step=1)
    """Total number of epochs: passes over the training items (or over num_items_per_epoch of them)."""
    init_epochs: int | None = knob(None, minimum=1, maximum=200, step=1, placeholder="step_epochs, else a triangle")
    """Number of epochs to run at the initial learning rate, before its first drop; not set: step_epochs. Where neither
    is set, the rate climbs for the first quarter of the run and falls in a straight line after."""
    per_item_lrate: float | None = knob(0.001465, minimum=0.0)
    """Learning rate per item: lrate = batch_size * per_item_lrate."""
    width_multiplier: float = knob(1.0, minimum=0.125, maximum=2.0, step=0.125)
    """Width of the network: 0.25 is about ten times faster and enough for simple pictures."""

    def notices(self) -> tuple[str, ...]:
        """About a decay of drops that there are none of."""
        if self.init_epochs or self.step_epochs:
            return super().notices()
        if self.lrate_decay is None:
            return ()
        return (
            f"lrate_decay {self.lrate_decay:g} has no effect: without init_epochs or step_epochs the learning rate "
            "falls in a straight line",
        )


def recipe(form: Cifar10Form, problem: Problem) -> Recipe:
    """The airbench recipe; the step schedule of init_epochs and step_epochs where either is set."""
    from lehr.learn.data.crops import Augmentation
    from lehr.learn.learners.pixels import pixel_learning
    from lehr.learn.preprocessing import Preprocessing, views_of
    from lehr.learn.recipe import Descent, Net, Recipe

    augmentation = Augmentation(
        side=form.image_size, padding=form.image_size // 16, flip_probability=form.training_flip_probability
    )
    return Recipe(
        template=TEMPLATE.name,
        form=form.model_dump(),
        problem=problem,
        net=Net(
            name="airbench",
            arguments={"num_concepts": len(problem.concepts), "width_multiplier": form.width_multiplier},
        ),
        begin=pixel_learning(augmentation, _whiten, smoothing=_SMOOTHING),
        preprocessing=Preprocessing(
            image_size=form.image_size,
            side=form.image_size,
            views=views_of(form.inference_crop_type, are_mirrored=form.average_horizontal_flips),
        ),
        activation=form.activation,
        descent=Descent(
            lrate=resolved_lrate(form),
            momentum=0.85,
            weight_decay=1.33e-3,
            multipliers=(("groups.*.norm?.bias", 64.0),),
        ),
        schedule=_schedule(form),
        batch_size=form.batch_size,
        num_epochs=form.num_epochs,
        num_items_per_epoch=form.num_items_per_epoch,
        test_freq=form.test_freq,
        seed=form.seed,
        is_balanced=form.balanced_sampling,
        is_averaged=True,
    )


def _schedule(form: Cifar10Form) -> Schedule:
    if form.init_epochs is None and form.step_epochs is None:
        return Triangle(num_epochs=form.num_epochs)
    return form.steps


def _whiten(net: nn.Module, learner: PixelLearner) -> Preparation:
    """First layer from the training pictures, last bias from the concepts' frequencies."""
    import torch

    from lehr.learn.data.crops import View
    from lehr.learn.data.normalise import normalised
    from lehr.learn.events import Preparing
    from lehr.learn.losses.multi_label import prior_logits

    data, recipe = learner.data, learner.recipe
    yield Preparing(stage="whitening the first layer", done=0, total=1)
    side = min(recipe.preprocessing.side, _WHITENING_SIDE)
    rows = data.rows_N[data.train_indices[: _WHITENING_PIXELS // side**2]]
    crops = View().crops(data.pack, rows, side)
    net.whiten_by(normalised(learner.images.crops(crops), recipe.preprocessing))  # type: ignore[operator]
    with torch.no_grad():
        if recipe.activation == "sigmoid":
            net.head.bias.copy_(prior_logits(recipe.problem.positives, recipe.problem.num_items))  # type: ignore
        else:
            net.head.bias.zero_()  # type: ignore
    yield Preparing(stage="whitening the first layer", done=1, total=1)


TEMPLATE = Template(
    name="classification_cifar10_v1",
    model_type="visual-classifier",
    title="Small pictures, from scratch",
    description="A small convolutional network for small pictures (32 pixels), trained from scratch.",
    when="Icons, digits, letters, thumbnails: small pictures unlike photographs, from some hundred examples on.",
    measured=(
        "Accuracy 0.994 on held-out digits (scikit-learn's 1797, seed 0, defaults) after 27 s on 2 cores of an AMD "
        "EPYC (Zen 4), no GPU, 2026-11-22."
    ),
    form=Cifar10Form,
    recipe=recipe,
)
