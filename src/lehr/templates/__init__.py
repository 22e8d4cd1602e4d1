"""The catalogue: one file per template, one line here. Importing it imports no torch."""

from __future__ import annotations

from lehr.errors import InvalidModel
from lehr.templates import classification_cifar10_v1, lehr_lite
from lehr.templates.template import Template

CATALOGUE: tuple[Template, ...] = (
    lehr_lite.TEMPLATE,
    classification_cifar10_v1.TEMPLATE,
)

__all__ = ["CATALOGUE", "Template", "find", "named", "of_type"]


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
