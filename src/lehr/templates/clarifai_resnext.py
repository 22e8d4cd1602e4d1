"""Classifier on ResNeXt-50 32x4d (learn/nets/resnet.py).

Measured: from random weights, accuracy 0.78 on 27 held-out digits of three kinds (scikit-learn's, 108 to train on,
image_size 32, batch_size 16, lrate 0.02, logreg 0, seed 0) after 2 epochs, 32 s on busy cores, on 2 cores of an AMD
EPYC (Zen 4), no GPU, 2026-11-22.
"""

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
    measured=(
        "From random weights, accuracy 0.78 on 27 held-out digits of three kinds (scikit-learn's, 108 to train on, "
        "image_size 32, batch_size 16, lrate 0.02, logreg 0, seed 0) after 2 epochs, 32 s on busy cores, on 2 cores "
        "of an AMD EPYC (Zen 4), no GPU, 2026-11-22."
    ),
    form=NetworkForm,
    recipe=recipe,
    backbone=RESNEXT.backbone,
    weights=RESNEXT.weights,
    aliases=("Clarifai-ResNext", "ResNext", "Clarifai_ResNeXt"),
)
