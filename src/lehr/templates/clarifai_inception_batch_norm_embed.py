"""Embedder of BN-Inception: 1,024 pooled features of a network trained to classify.

Measured: from random weights, recall@1 0.85 and MAP@R 0.68 on 27 held-out digits of three kinds (scikit-learn's, 108
to train on, image_size 32, batch_size 16, lrate 0.02, logreg 0, seed 0) after 2 epochs, 20 s on busy cores, on 2
cores of an AMD EPYC (Zen 4), no GPU, 2026-11-22.
"""

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
    measured=(
        "From random weights, recall@1 0.85 and MAP@R 0.68 on 27 held-out digits of three kinds (scikit-learn's, 108 "
        "to train on, image_size 32, batch_size 16, lrate 0.02, logreg 0, seed 0) after 2 epochs, 20 s on busy cores, "
        "on 2 cores of an AMD EPYC (Zen 4), no GPU, 2026-11-22."
    ),
    form=NetworkEmbedderForm,
    recipe=recipe,
    backbone=INCEPTION_BATCH_NORM.backbone,
    weights=INCEPTION_BATCH_NORM.weights,
    aliases=("Clarifai-InceptionBatchNorm", "InceptionBatchNorm"),
)
