"""Model types that nobody trains: one file per operator, one line here. Pure functions; nothing here reads a store."""

from __future__ import annotations

from lehr.services.operators import (
    annotation_writer,
    concept_synonym_mapper,
    concept_threshold,
    image_align,
    image_crop,
    image_tiling,
    region_threshold,
)
from lehr.services.operators.item import Crop, Item, Scene
from lehr.services.operators.operator import Operator, Parameter, Settings

OPERATORS: tuple[Operator, ...] = (
    image_crop.OPERATOR,
    image_align.OPERATOR,
    image_tiling.OPERATOR,
    concept_threshold.OPERATOR,
    region_threshold.OPERATOR,
    concept_synonym_mapper.OPERATOR,
    annotation_writer.OPERATOR,
)

__all__ = ["OPERATORS", "Crop", "Item", "Operator", "Parameter", "Scene", "Settings", "operator_of"]

_BY_ID = {id_: operator for operator in OPERATORS for id_ in (operator.model_type_id, *operator.aliases)}


def operator_of(model_type_id: str) -> Operator | None:
    """The operator of this model type, by any of its ids."""
    return _BY_ID.get(model_type_id)
