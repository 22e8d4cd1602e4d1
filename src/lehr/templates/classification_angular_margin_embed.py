"""The embedder by angles whose network is a knob.

Measured: with model_cfg inception_batchnorm from random weights, recall@1 0.97 and MAP@R 0.92 on 72 held-out digits
of four kinds (scikit-learn's, 288 to train on, image_size 32, batch_size 32, lrate 0.05, embeddings_size 64, seed 0)
after 4 epochs, 131 s on busy cores, on 2 cores of an AMD EPYC (Zen 4), no GPU, 2026-11-22.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lehr.hyperparameters import knob
from lehr.templates.classification_basemodel_v1 import NETWORKS, BaseModelKnobs
from lehr.templates.network_family import NetworkAngularForm, angular_embedder
from lehr.templates.template import Template

if TYPE_CHECKING:
    from lehr.learn.problem import Problem
    from lehr.learn.recipe import Recipe


class AngularMarginForm(NetworkAngularForm, BaseModelKnobs):
    """The fields of Clarifai_ResNet_AngularMargin, and the network."""

    model_cfg: str = knob("resnet101", options=tuple(NETWORKS))
    """The network."""


def recipe(form: AngularMarginForm, problem: Problem) -> Recipe:
    """An embedder by angles on the network of model_cfg."""
    return angular_embedder(form.family, TEMPLATE.name, form, problem)


TEMPLATE = Template(
    name="classification_angular_margin_embed",
    model_type="visual-embedder",
    title="Angular margin on a chosen network",
    description="An embedding of chosen length behind the network that model_cfg names, trained by angles (ArcFace).",
    when="Old clients that ask for it, and smaller networks than ResNet-101.",
    measured=(
        "With model_cfg inception_batchnorm from random weights, recall@1 0.97 and MAP@R 0.92 on 72 held-out digits "
        "of four kinds (scikit-learn's, 288 to train on, image_size 32, batch_size 32, lrate 0.05, embeddings_size "
        "64, seed 0) after 4 epochs, 131 s on busy cores, on 2 cores of an AMD EPYC (Zen 4), no GPU, 2026-11-22."
    ),
    form=AngularMarginForm,
    recipe=recipe,
    aliases=("classification-angular-margin-embed",),
)
