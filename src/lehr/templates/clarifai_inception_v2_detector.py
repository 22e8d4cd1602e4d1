"""Detector: RetinaNet on Inception-v2, in the layout of Inception-v3, for which pretrained weights are published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lehr.templates.detector_form import DetectorFamily, DetectorForm, detector_recipe
from lehr.templates.template import Template

if TYPE_CHECKING:
    from lehr.learn.problem import Problem
    from lehr.learn.recipe import Recipe

INCEPTION_V2 = DetectorFamily(backbone="inception_v2", weights="inception_v3.tf_in1k")


def recipe(form: DetectorForm, problem: Problem) -> Recipe:
    """A detector on Inception-v2."""
    return detector_recipe(INCEPTION_V2, TEMPLATE.name, form, problem)


TEMPLATE = Template(
    name="Clarifai_InceptionV2",
    model_type="visual-detector",
    title="Inception V2",
    description="RetinaNet on Inception-v2: faster than on Inception-v4, and nearly as exact.",
    when="Some hundred boxes per concept and a GPU.",
    measured=(
        "From random weights: mean average precision 0.56 at IoU 0.5 (0.19 over 0.50 to 0.95) on 25 held-out pictures "
        "of drawn discs and squares after 8 epochs on 100 such pictures at 128 pixels (batch_size 4, per_item_lrate "
        "0.00125): 152 s of one core of an AMD EPYC (Zen 4), no GPU, 2026-11-22. Not yet measured with pretrained "
        "weights."
    ),
    form=DetectorForm,
    recipe=recipe,
    backbone=INCEPTION_V2.backbone,
    weights=INCEPTION_V2.weights,
    aliases=("Clarifai-InceptionV2", "InceptionV2"),
)
