"""Classifier on the Inception-v2 of the Rethinking paper (learn/nets/inception_v2.py), from random weights.

Measured: from random weights, accuracy 0.93 on 27 held-out digits of three kinds (scikit-learn's, 108 to train on,
image_size 32, batch_size 16, lrate 0.02, logreg 0, seed 0) after 2 epochs, 71 s on busy cores, on 2 cores of an AMD
EPYC (Zen 4), no GPU, 2026-11-22.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lehr.templates.network_family import INCEPTION_V2, NetworkForm, classifier
from lehr.templates.template import Template

if TYPE_CHECKING:
    from lehr.learn.problem import Problem
    from lehr.learn.recipe import Recipe


def recipe(form: NetworkForm, problem: Problem) -> Recipe:
    """A classifier on this network."""
    return classifier(INCEPTION_V2, TEMPLATE.name, form, problem)


TEMPLATE = Template(
    name="Clarifai_InceptionV2",
    model_type="visual-classifier",
    title="Inception V2",
    description=(
        "Inception-v2 (Rethinking the Inception Architecture, Table 1), from random weights as its public namesake; "
        "pretrained_weights=inception_v3.tf_in1k takes the layout of Inception-v3 and its ImageNet weights."
    ),
    when="Thousands of pictures, or pictures unlike photographs, and a GPU.",
    measured=(
        "From random weights, accuracy 0.93 on 27 held-out digits of three kinds (scikit-learn's, 108 to train on, "
        "image_size 32, batch_size 16, lrate 0.02, logreg 0, seed 0) after 2 epochs, 71 s on busy cores, on 2 cores "
        "of an AMD EPYC (Zen 4), no GPU, 2026-11-22."
    ),
    form=NetworkForm,
    recipe=recipe,
    backbone=INCEPTION_V2.backbone,
    aliases=("Clarifai-InceptionV2", "InceptionV2"),
)
