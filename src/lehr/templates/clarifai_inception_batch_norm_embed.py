"""Embedder of BN-Inception: 1,024 pooled features of a network trained to classify."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lehr.templates.network_family import INCEPTION_BATCH_NORM, NetworkEmbedderForm, embedder
from lehr.templates.template import Template

if TYPE_CHECKING:
    from lehr.learn.problem import Problem
    from lehr.learn.recipe import Recipe


def recipe(form: NetworkEmbedderForm, problem: Problem) -> Recipe:
    """An embedder on this network."""
    return embedder(INCEPTION_BATCH_NORM, TEMPLATE.name, form, problem)


TEMPLATE = Template(
    name="Clarifai_InceptionBatchNorm",
    model_type="visual-embedder",
    title="Inception with BatchNorm",
    description="The 1,024 pooled features of BN-Inception, trained as a classifier, of length 1.",
    when="Search and clustering in your own kind of pictures, with little compute.",
    measured="",
    form=NetworkEmbedderForm,
    recipe=recipe,
    aliases=("Clarifai-InceptionBatchNorm", "InceptionBatchNorm"),
)
