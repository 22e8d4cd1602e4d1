"""Classifier on ResNeXt-50 32x4d (learn/nets/resnet.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lehr.templates.network_family import RESNEXT, NetworkForm, classifier
from lehr.templates.template import Template

if TYPE_CHECKING:
    from lehr.learn.problem import Problem
    from lehr.learn.recipe import Recipe


def recipe(form: NetworkForm, problem: Problem) -> Recipe:
    """A classifier on this network."""
    return classifier(RESNEXT, TEMPLATE.name, form, problem)


TEMPLATE = Template(
    name="Clarifai_ResNext",
    model_type="visual-classifier",
    title="ResNeXt",
    description=(
        "ResNeXt-50 32x4d: one block of 32 parallel paths, repeated; 25 million parameters, ImageNet weights from the "
        "hub or the folder of weights."
    ),
    when="Photographs and a GPU; the most accurate of the public templates per second.",
    measured="",
    form=NetworkForm,
    recipe=recipe,
    aliases=("Clarifai-ResNext", "ResNext", "Clarifai_ResNeXt"),
)
