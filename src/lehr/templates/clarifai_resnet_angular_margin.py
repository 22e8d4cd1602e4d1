"""Embedder of ResNet-101 with an additive angular margin (ArcFace)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lehr.templates.network_family import RESNET_101, NetworkAngularForm, angular_embedder
from lehr.templates.template import Template

if TYPE_CHECKING:
    from lehr.learn.problem import Problem
    from lehr.learn.recipe import Recipe


def recipe(form: NetworkAngularForm, problem: Problem) -> Recipe:
    """An embedder on this network."""
    return angular_embedder(RESNET_101, TEMPLATE.name, form, problem)


TEMPLATE = Template(
    name="Clarifai_ResNet_AngularMargin",
    model_type="visual-embedder",
    title="ResNet-101 with angular margin",
    description="ResNet-101 and an embedding of chosen length, trained by angles (ArcFace).",
    when="Many concepts of few pictures each, new ones to come: faces, products, species.",
    measured="",
    form=NetworkAngularForm,
    recipe=recipe,
    aliases=("Clarifai-ResNet-AngularMargin", "ResNet_AngularMargin"),
)
