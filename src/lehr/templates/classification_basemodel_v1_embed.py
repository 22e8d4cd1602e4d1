"""The embedder that the other classifying embedders are cases of: the network is a knob.

Measured: with model_cfg resnext from random weights, recall@1 0.82 and MAP@R 0.49 on 72 held-out digits of four kinds
(scikit-learn's, 288 to train on, image_size 32, batch_size 32, lrate 0.05, logreg 0, seed 0) after 8 epochs, 372 s on
busy cores (136 s of processor time), on 2 cores of an AMD EPYC (Zen 4), no GPU, 2026-11-22.
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

    @property
    def is_from_scratch(self) -> bool:
        """Whether the form alone says that the weights are random: the network may have none of its own."""
        return super().is_from_scratch or (self.pretrained_weights is None and not self.family.weights)


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
        "With model_cfg resnext from random weights, recall@1 0.82 and MAP@R 0.49 on 72 held-out digits of four kinds "
        "(scikit-learn's, 288 to train on, image_size 32, batch_size 32, lrate 0.05, logreg 0, seed 0) after 8 "
        "epochs, 372 s on busy cores (136 s of processor time), on 2 cores of an AMD EPYC (Zen 4), no GPU, 2026-11-22."
    ),
    form=BaseModelEmbedderForm,
    recipe=recipe,
    aliases=("classification-basemodel-v1-embed",),
)
