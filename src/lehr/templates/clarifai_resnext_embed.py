"""Embedder of ResNeXt-50 32x4d: 2,048 pooled features of a network trained to classify."""

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
    measured="",
    form=NetworkEmbedderForm,
    recipe=recipe,
    aliases=("Clarifai-ResNext", "ResNext", "Clarifai_ResNeXt"),
)
