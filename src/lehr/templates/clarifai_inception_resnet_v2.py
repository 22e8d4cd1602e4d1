"""Classifier on Inception-ResNet-v2 (learn/nets/inception_resnet_v2.py), the largest network here.

Measured: from random weights, accuracy 0.89 on 27 held-out digits of three kinds (scikit-learn's, 108 to train on,
image_size 32, batch_size 16, lrate 0.02, logreg 0, seed 0) after 2 epochs, 156 s on busy cores, on 2 cores of an AMD
EPYC (Zen 4), no GPU, 2026-11-22.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lehr.templates.network_family import INCEPTION_RESNET_V2, NetworkForm, classifier
from lehr.templates.template import Template

if TYPE_CHECKING:
    from lehr.learn.problem import Problem
    from lehr.learn.recipe import Recipe


def recipe(form: NetworkForm, problem: Problem) -> Recipe:
    """A classifier on this network."""
    return classifier(INCEPTION_RESNET_V2, TEMPLATE.name, form, problem)


TEMPLATE = Template(
    name="Clarifai_InceptionResnetV2",
    model_type="visual-classifier",
    title="Inception ResNet V2",
    description=(
        "Inception-ResNet-v2: Inception blocks with shortcuts, 56 million parameters, ImageNet weights from the hub or "
        "the folder of weights."
    ),
    when="Many pictures, a GPU, and accuracy before speed.",
    measured=(
        "From random weights, accuracy 0.89 on 27 held-out digits of three kinds (scikit-learn's, 108 to train on, "
        "image_size 32, batch_size 16, lrate 0.02, logreg 0, seed 0) after 2 epochs, 156 s on busy cores, on 2 cores "
        "of an AMD EPYC (Zen 4), no GPU, 2026-11-22."
    ),
    form=NetworkForm,
    recipe=recipe,
    backbone=INCEPTION_RESNET_V2.backbone,
    weights=INCEPTION_RESNET_V2.weights,
    aliases=("Clarifai-InceptionResnetV2", "InceptionResnetV2", "Clarifai_InceptionResNetV2"),
)
