"""The catalogue: one file per template, one line here. Importing it imports no torch."""

from __future__ import annotations

from lehr.errors import InvalidModel
from lehr.templates import (
    clarifai_inception_batch_norm,
    clarifai_inception_batch_norm_embed,
    clarifai_inception_resnet_v2,
    clarifai_inception_transfer_embed_norm,
    clarifai_inception_v2,
    clarifai_inception_v2_detector,
    clarifai_inception_v4,
    clarifai_resnet_angular_margin,
    clarifai_resnext,
    clarifai_resnext_embed,
    classification_angular_margin_embed,
    classification_basemodel_v1,
    classification_basemodel_v1_embed,
    classification_cifar10_v1,
    embedding_classifier,
    lehr_lite,
    lehr_lite_detector,
    lehr_lite_embed,
)
from lehr.templates.template import Template, is_by_angles

CATALOGUE: tuple[Template, ...] = (
    lehr_lite.TEMPLATE,
    classification_cifar10_v1.TEMPLATE,
    clarifai_inception_v2.TEMPLATE,
    clarifai_inception_batch_norm.TEMPLATE,
    clarifai_resnext.TEMPLATE,
    clarifai_inception_resnet_v2.TEMPLATE,
    clarifai_inception_transfer_embed_norm.TEMPLATE,
    classification_basemodel_v1.TEMPLATE,
    lehr_lite_embed.TEMPLATE,
    clarifai_inception_batch_norm_embed.TEMPLATE,
    clarifai_resnext_embed.TEMPLATE,
    clarifai_resnet_angular_margin.TEMPLATE,
    classification_basemodel_v1_embed.TEMPLATE,
    classification_angular_margin_embed.TEMPLATE,
    embedding_classifier.TEMPLATE,
    lehr_lite_detector.TEMPLATE,
    clarifai_inception_v2_detector.TEMPLATE,
    clarifai_inception_v4.TEMPLATE,
)

__all__ = ["CATALOGUE", "Template", "find", "is_by_angles", "named", "of_type"]


def of_type(model_type_id: str) -> tuple[Template, ...]:
    """The templates of one model type, the recommended first."""
    return tuple(template for template in CATALOGUE if template.model_type == model_type_id)


def find(model_type_id: str, name: str) -> Template:
    """The template that `name` means: case, '-', '_', spaces and a leading "Clarifai_" do not matter.

    Raises InvalidModel naming the templates that exist.
    """
    templates = of_type(model_type_id)
    if not templates:
        types = sorted({template.model_type for template in CATALOGUE})
        raise InvalidModel(f"Models of type {model_type_id!r} have no template; these types have: {', '.join(types)}.")
    for template in templates:
        if _key(name) in _keys(template):
            return template
    names = ", ".join(template.name for template in templates)
    raise InvalidModel(f"There is no template {name!r} for {model_type_id}; there are: {names}.")


def named(name: str) -> tuple[Template, ...]:
    """The templates of any model type that `name` means. Raises InvalidModel naming all that exist."""
    found = tuple(template for template in CATALOGUE if _key(name) in _keys(template))
    if not found:
        names = ", ".join(dict.fromkeys(template.name for template in CATALOGUE))
        raise InvalidModel(f"There is no template {name!r}; there are: {names}.")
    return found


def _keys(template: Template) -> set[str]:
    return {_key(spelling) for spelling in (template.name, *template.aliases)}


def _key(name: str) -> str:
    key = "".join(character for character in name.lower() if character not in "-_ ")
    return key.removeprefix("clarifai") or key
