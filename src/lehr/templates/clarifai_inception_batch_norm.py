"""Classifier on BN-Inception (learn/nets/bn_inception.py), the lightest of the Inceptions.

Measured: from random weights, accuracy 1.00 (after one epoch 0.75) on 72 held-out digits of four kinds (scikit-
learn's, 288 to train on, image_size 32, batch_size 32, lrate 0.05, logreg 0, seed 0) after 4 epochs, 164 s on busy
cores, on 2 cores of an AMD EPYC (Zen 4), no GPU, 2026-11-22.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lehr.templates.network_family import INCEPTION_BATCH_NORM, NetworkForm, classifier
from lehr.templates.template import Template

if TYPE_CHECKING:
    from lehr.learn.problem import Problem
    from lehr.learn.recipe import Recipe


def recipe(form: NetworkForm, problem: Problem) -> Recipe:
    """A classifier on this network."""
    return classifier(INCEPTION_BATCH_NORM, TEMPLATE.name, form, problem)


TEMPLATE = Template(
    name="Clarifai_InceptionBatchNorm",
    model_type="visual-classifier",
    title="Inception with BatchNorm",
    description=(
        "BN-Inception, the first network with BatchNorm: 11 million parameters, quick for its age. No hub has its "
        "weights: put bn_inception.safetensors into the folder of weights, or it starts from random ones."
    ),
    when="Some thousand pictures and little compute; the fastest of the published networks here.",
    measured=(
        "From random weights, accuracy 1.00 (after one epoch 0.75) on 72 held-out digits of four kinds (scikit- "
        "learn's, 288 to train on, image_size 32, batch_size 32, lrate 0.05, logreg 0, seed 0) after 4 epochs, 164 s "
        "on busy cores, on 2 cores of an AMD EPYC (Zen 4), no GPU, 2026-11-22."
    ),
    form=NetworkForm,
    recipe=recipe,
    backbone=INCEPTION_BATCH_NORM.backbone,
    weights=INCEPTION_BATCH_NORM.weights,
    aliases=("Clarifai-InceptionBatchNorm", "InceptionBatchNorm"),
)
