"""The embedder that the other classifying embedders are cases of: the network is a knob.

Measured: with model_cfg inception_batchnorm it is the recipe of Clarifai_InceptionBatchNorm, measured there: from
random weights, recall@1 0.85 and MAP@R 0.68 on 27 held-out digits of three kinds (scikit-learn's, 108 to train on,
image_size 32, batch_size 16, lrate 0.02, logreg 0, seed 0) after 2 epochs, 20 s on busy cores, on 2 cores of an AMD
EPYC (Zen 4), no GPU, 2026-11-22.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lehr.templates.classification_basemodel_v1 import BaseModelKnobs
from lehr.templates.network_family import NetworkEmbedderForm, embedder
from lehr.templates.template import Template

if TYPE_CHECKING:
    from lehr.learn.problem import Problem
    from lehr.learn.recipe import Recipe


class BaseModelEmbedderForm(NetworkEmbedderForm, BaseModelKnobs):
    """The fields of classification_basemodel_v1."""


def recipe(form: BaseModelEmbedderForm, problem: Problem) -> Recipe:
    """An embedder on the network of model_cfg."""
    return embedder(form.family, TEMPLATE.name, form, problem)


TEMPLATE = Template(
    name="classification_basemodel_v1_embed",
    model_type="visual-embedder",
    title="Embedder of a chosen network",
    description="The pooled features of the network that model_cfg names, trained as a classifier, of length 1.",
    when="Old clients that ask for it, and comparisons of networks under one name.",
    measured=(
        "With model_cfg inception_batchnorm it is the recipe of Clarifai_InceptionBatchNorm, measured there: from "
        "random weights, recall@1 0.85 and MAP@R 0.68 on 27 held-out digits of three kinds (scikit-learn's, 108 to "
        "train on, image_size 32, batch_size 16, lrate 0.02, logreg 0, seed 0) after 2 epochs, 20 s on busy cores, on "
        "2 cores of an AMD EPYC (Zen 4), no GPU, 2026-11-22."
    ),
    form=BaseModelEmbedderForm,
    recipe=recipe,
    aliases=("classification-basemodel-v1-embed",),
)
