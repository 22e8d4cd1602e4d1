"""Classifier on BN-Inception (learn/nets/bn_inception.py), the lightest of the Inceptions."""

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
    measured="",
    form=NetworkForm,
    recipe=recipe,
    aliases=("Clarifai-InceptionBatchNorm", "InceptionBatchNorm"),
)
