"""Classifier on the Inception-v2 of the Rethinking paper (learn/nets/inception_v2.py), from random weights."""

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
    measured="",
    form=NetworkForm,
    recipe=recipe,
    aliases=("Clarifai-InceptionV2", "InceptionV2"),
)
