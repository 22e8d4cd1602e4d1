"""Comparing values with thresholds, as two operators do: for concepts, and for regions by their concepts."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence

from lehr.protocol import resources_pb2
from lehr.services.operators.operator import Parameter, Settings

COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "GREATER_THAN": operator.gt,
    "GREATER_THAN_OR_EQUAL": operator.ge,
    "LESS_THAN": operator.lt,
    "LESS_THAN_OR_EQUAL": operator.le,
    "EQUAL": operator.eq,
}
SIGNS = {">": "GREATER_THAN", ">=": "GREATER_THAN_OR_EQUAL", "<": "LESS_THAN", "<=": "LESS_THAN_OR_EQUAL", "=": "EQUAL"}
_NUMBERS = {name: resources_pb2.ValueComparator.Value(name) for name in COMPARISONS}
_LONG = {f"{name}_TO": _NUMBERS[name] for name in ("GREATER_THAN_OR_EQUAL", "LESS_THAN_OR_EQUAL", "EQUAL")}

COMPARISON = Parameter(
    name="concept_threshold_type",
    kind="enum",
    default="GREATER_THAN",
    options={**_NUMBERS, **_LONG, **{sign: _NUMBERS[name] for sign, name in SIGNS.items()}},
    sentence="How a value is compared with the threshold: >, >=, =, < or <=.",
)
THRESHOLD = Parameter(
    name="threshold",
    kind="number",
    default=0.5,
    minimum=0,
    maximum=1,
    step=0.01,
    sentence="Of every concept, where `output_info.data.concepts` names none with thresholds of their own.",
)
PARAMETERS = (COMPARISON, THRESHOLD)
_SLACK = 1e-6
"""Values travel as 32-bit floats: 0.9 arrives as 0.899999976."""


def passing(concepts: Sequence[resources_pb2.Concept], settings: Settings) -> list[resources_pb2.Concept]:
    """Those concepts whose values stand as asked to their thresholds; where some are named, only of those."""
    compare = _comparison(settings.values["concept_threshold_type"])
    named = {key: concept.value for concept in settings.concepts for key in (concept.id, concept.name) if key}
    general = settings.values["threshold"]
    kept = []
    for concept in concepts:
        threshold = named.get(concept.id, named.get(concept.name)) if named else general
        if threshold is not None and compare(concept.value, threshold):
            kept.append(concept)
    return kept


def _comparison(name: str) -> Callable[[float, float], bool]:
    plain = SIGNS.get(name, name.removesuffix("_TO"))
    compare = COMPARISONS[plain]
    takes_equal = compare(1.0, 1.0)

    def compared(value: float, threshold: float) -> bool:
        return takes_equal if abs(value - threshold) <= _SLACK else compare(value, threshold)

    return compared
