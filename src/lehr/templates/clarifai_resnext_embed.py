"""Embedder of ResNeXt-50 32x4d: 2,048 pooled features of a network trained to classify.

Measured: from random weights, MAP@R 0.82 and recall@1 0.98 on 54 held-out digits of three kinds (scikit-learn's, 215
to train on, image_size 32, batch_size 16, lrate 0.02, logreg 0, seed 0) after 4 epochs, where the untrained network has
0.54 and 0.94: 53 s of one core (AMD EPYC, Zen 4, no GPU, 2026-11-22).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lehr.templates.network_family import RESNEXT, NetworkEmbedderForm, embedder
from lehr.templates.template import Template

if TYPE_CHECKING:
    from lehr.learn.problem import Problem
    from lehr.learn.recipe import Recipe


def recipe(form: NetworkEmbedderForm, problem: Problem) -> Recipe:
    """An embedder on this network."""
    return embedder(RESNEXT, TEMPLATE.name, form, problem)


TEMPLATE = Template(
    name="Clarifai_ResNext",
    model_type="visual-embedder",
    title="ResNeXt",
    description="The 2,048 pooled features of ResNeXt-50 32x4d, trained as a classifier, of length 1.",
    when="Search and clustering in your own kind of photographs, with a GPU.",
    measured=(
        "From random weights, MAP@R 0.82 and recall@1 0.98 on 54 held-out digits of three kinds (scikit-learn's, 215 "
        "to train on, image_size 32, batch_size 16, lrate 0.02, logreg 0, seed 0) after 4 epochs, where the untrained "
        "network has 0.54 and 0.94: 53 s of one core of an AMD EPYC (Zen 4), no GPU, 2026-11-22."
    ),
    form=NetworkEmbedderForm,
    recipe=recipe,
    backbone=RESNEXT.backbone,
    weights=RESNEXT.weights,
    aliases=("Clarifai-ResNext", "ResNext", "Clarifai_ResNeXt"),
)
