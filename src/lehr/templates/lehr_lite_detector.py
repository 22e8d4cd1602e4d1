"""Lehr's own detector: RetinaNet with a light head on the pretrained base that comes with the package.

Half the channels and layers of the standard head, norms inside, whole pictures of 320 pixels: for small sets and
machines without a GPU.

Measured: 100 drawn pictures of 160 x 128 with discs and squares, 25 held out, 8 epochs, base_gradient_multiplier 0,
mirroring, seed 0: mAP 0.98 at IoU 0.5, 0.65 over 0.50 to 0.95, 18 s of one core (AMD EPYC, Zen 4, no GPU, 2026-11-22).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lehr.hyperparameters import knob
from lehr.templates.detector_form import DetectorFamily, DetectorForm, detector_recipe
from lehr.templates.template import Template

if TYPE_CHECKING:
    from lehr.learn.problem import Problem
    from lehr.learn.recipe import Recipe

LITE = DetectorFamily(
    backbone="efficientnet_lite0",
    weights="tf_efficientnet_lite0",
    head="lite",
    has_steady_head=True,
)


class LiteDetectorForm(DetectorForm):
    """Smaller pictures and longer steps than RetinaNet's: the norms in the head allow them."""

    image_size: int = knob(320, minimum=64, maximum=1024, step=32)
    """Size of the images: their shorter side in pixels; the whole picture is seen. Larger finds smaller objects and
    takes longer: 320, 512 and 800 are usual, less than 320 is for small pictures."""
    per_item_lrate: float | None = knob(0.00625, minimum=0.0)
    """Learning rate per item: lrate = batch_size * per_item_lrate."""


def recipe(form: LiteDetectorForm, problem: Problem) -> Recipe:
    """A detector on EfficientNet-Lite0."""
    return detector_recipe(LITE, TEMPLATE.name, form, problem)


TEMPLATE = Template(
    name="Lehr_Lite",
    model_type="visual-detector",
    title="Objects, from a pretrained base",
    description="RetinaNet with a light head on EfficientNet-Lite0, pretrained on ImageNet, which comes with Lehr.",
    when="A few hundred boxes, no GPU: the first thing to try.",
    measured=(
        "Mean average precision 0.98 at IoU 0.5 (0.65 over 0.50 to 0.95) on 25 held-out pictures of drawn discs and "
        "squares on noise, after 8 epochs on 100 such pictures at 128 pixels with the base left as it is: 18 s of one "
        "core of an AMD EPYC (Zen 4), no GPU, 2026-11-22."
    ),
    form=LiteDetectorForm,
    recipe=recipe,
    backbone=LITE.backbone,
    weights=LITE.weights,
    aliases=("Lite",),
    is_recommended=True,
)
