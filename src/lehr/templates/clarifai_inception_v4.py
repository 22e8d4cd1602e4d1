"""Detector: RetinaNet on Inception-v4, the deepest of the detectors.

Measured: from random weights, mAP 0.41 at IoU 0.5, 0.13 over 0.50 to 0.95, on 25 held-out pictures of drawn discs and
squares, 100 to train on, 8 epochs of 25 steps of 4 at 128 pixels, per_item_lrate 0.00125, seed 0: 183 s of one core
(AMD EPYC, Zen 4, no GPU, 2026-11-22).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lehr.templates.detector_form import DetectorFamily, DetectorForm, detector_recipe
from lehr.templates.template import Template

if TYPE_CHECKING:
    from lehr.learn.problem import Problem
    from lehr.learn.recipe import Recipe

INCEPTION_V4 = DetectorFamily(backbone="inception_v4", weights="inception_v4.tf_in1k")


def recipe(form: DetectorForm, problem: Problem) -> Recipe:
    """A detector on Inception-v4."""
    return detector_recipe(INCEPTION_V4, TEMPLATE.name, form, problem)


TEMPLATE = Template(
    name="Clarifai_InceptionV4",
    model_type="visual-detector",
    title="Inception V4",
    description=(
        "RetinaNet on Inception-v4: deeper and slower than on Inception-v2, with memory optimization for "
        "backpropagation (gradient_checkpointing)."
    ),
    when="Thousands of boxes, small or similar objects, and a GPU.",
    measured=(
        "From random weights: mean average precision 0.41 at IoU 0.5 (0.13 over 0.50 to 0.95) on 25 held-out pictures "
        "of drawn discs and squares after 8 epochs on 100 such pictures at 128 pixels (batch_size 4, per_item_lrate "
        "0.00125): 183 s of one core of an AMD EPYC (Zen 4), no GPU, 2026-11-22. Not yet measured with pretrained "
        "weights."
    ),
    form=DetectorForm,
    recipe=recipe,
    backbone=INCEPTION_V4.backbone,
    weights=INCEPTION_V4.weights,
    aliases=("Clarifai-InceptionV4", "InceptionV4"),
)
