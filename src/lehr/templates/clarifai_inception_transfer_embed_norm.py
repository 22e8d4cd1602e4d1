"""Transfer from a pretrained base: a head is solved on its features, then both are tuned, the base far more slowly.

Always starts from pretrained weights: BN-Inception's where they are at hand, else the base that comes with Lehr.

Measured: on the base that comes with Lehr, accuracy 0.86 on 90 held-out digits of ten kinds (scikit-learn's, 360 to
train on, image_size 64, without mirroring, seed 0), reached by the head alone and kept through 3 epochs, 64 s on busy
cores, on 2 cores of an AMD EPYC (Zen 4), no GPU, 2026-11-22.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lehr.hyperparameters import knob
from lehr.templates.network_family import (
    INCEPTION_BATCH_NORM,
    LITE,
    NetworkForm,
    Plan,
    needs_base,
    network_arguments,
    recipe_of,
)
from lehr.templates.template import Template

if TYPE_CHECKING:
    from lehr.learn.problem import Problem
    from lehr.learn.recipe import Recipe

_OWN_BASE = "BN-Inception's, else the base that comes with Lehr"


class TransferForm(NetworkForm):
    """The public fields with the public defaults."""

    batch_size: int = knob(128, minimum=1, maximum=128, step=1)
    """Number of images in one update of the network."""
    num_epochs: int = knob(20, minimum=1, maximum=200, step=1)
    """Total number of epochs: passes over the training items (or over num_items_per_epoch of them)."""
    init_epochs: int | None = knob(None, minimum=1, maximum=200, step=1, placeholder="step_epochs, else no drop")
    """Number of epochs to run at the initial learning rate, before its first drop; not set: step_epochs, and without
    either the rate does not drop."""
    step_epochs: int | None = knob(None, minimum=1, maximum=200, step=1, placeholder="one drop, after init_epochs")
    """Number of epochs between drops of the learning rate; not set: it drops once, after init_epochs."""
    lrate: float | None = knob(0.1, minimum=0.0)
    """Learning rate: the step size of one batch. Give this, per_item_lrate or per_128_lrate."""
    per_item_lrate: float | None = knob(None, minimum=0.0, placeholder="lrate / batch_size")
    """Learning rate per item: lrate = batch_size * per_item_lrate."""
    base_gradient_multiplier: float = knob(0.001, minimum=0.0, maximum=10.0)
    """Learning rate of the pre-initialised base, as a multiple of the head's. 0 freezes it: its features are computed
    once and the head trains in seconds."""
    pretrained_weights: str | None = knob(None, placeholder=_OWN_BASE)
    """What the base starts from: the name of published weights (from the folder of weights or the hub), or a trained
    model of yours ("model_id" or "model_id/version_id"). Not set: BN-Inception's where they can be had, else the base
    that comes with Lehr. There is no transfer from random weights."""
    average_horizontal_flips: bool = knob(True)
    """Mirror training images with probability 0.5, and average the predictions of image and mirror. Switch it off where
    left and right differ, as in text."""
    num_gpus: int = knob(1, minimum=0, maximum=1, step=1)
    """Accepted for old clients; a GPU is used when there is one."""
    embeddings_layer: str = knob("mod5B.concat", options=("mod5B.concat",))
    """The layer whose pooled features the head reads: the last before the classifier."""

    def problems(self) -> tuple[str, ...]:
        """No base to transfer from."""
        return (*super().problems(), *needs_base(self, _OWN_BASE))


def recipe(form: TransferForm, problem: Problem) -> Recipe:
    """A linear layer on whatever pretrained base there is: any network serves, for the weights bring their own."""
    from lehr.learn.base_weights import choose_base
    from lehr.learn.layouts import PUBLISHED
    from lehr.learn.recipe import Net

    weights, notices = choose_base(form.pretrained_weights, INCEPTION_BATCH_NORM.weights, problem), []
    if not weights.are_pretrained:
        notices.append(
            f"Transferring from the base that comes with Lehr (EfficientNet-Lite0, ImageNet) instead of BN-Inception: "
            f"{weights.why}."
        )
        weights = choose_base(LITE.weights, "", problem)
    layout = weights.layout or PUBLISHED[INCEPTION_BATCH_NORM.weights]
    family = replace(INCEPTION_BATCH_NORM, backbone=layout.backbone)
    arguments = {"num_concepts": len(problem.concepts), **network_arguments(family, weights, form)}
    plan = Plan(weights=weights, family=family, net=Net(name="classifier", arguments=arguments))
    return replace(recipe_of(TEMPLATE.name, form, problem, plan), notices=tuple(notices))


TEMPLATE = Template(
    name="Clarifai_InceptionTransferEmbedNorm",
    model_type="visual-classifier",
    title="Transfer from a pretrained base",
    description="A head on a pretrained base, solved first and then tuned together with it, the base much more slowly.",
    when="Photographs, few examples: what Lehr_Lite does, under the public name and with the public knobs.",
    measured=(
        "On the base that comes with Lehr, accuracy 0.86 on 90 held-out digits of ten kinds (scikit-learn's, 360 to "
        "train on, image_size 64, without mirroring, seed 0), reached by the head alone and kept through 3 epochs, 64 "
        "s on busy cores, on 2 cores of an AMD EPYC (Zen 4), no GPU, 2026-11-22."
    ),
    form=TransferForm,
    recipe=recipe,
    weights=INCEPTION_BATCH_NORM.weights,
    aliases=("InceptionTransferEmbedNorm", "classification_inception_general_v1_3_transfer_embednorm"),
)
