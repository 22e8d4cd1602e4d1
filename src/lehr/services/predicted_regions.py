"""What a detector found, as regions of an answer: which boxes are shown, and in what form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lehr.errors import InvalidPrediction
from lehr.learn.bundle import Bundle
from lehr.learn.detection.found import boxes_in
from lehr.protocol import resources_pb2
from lehr.protocol.ids import new_id
from lehr.protocol.structs import from_struct

DEFAULT_THRESHOLD = 0.3
"""Of a version whose request and form say nothing else; advertised as such."""
THRESHOLDS = ("detection_threshold", "detection_score_threshold")
"""Names of the threshold in `output_info.params`: the current clients' and the seeds'."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Which boxes an answer carries, and what their concepts are called."""

    concept_ids: Sequence[str]
    names: Mapping[str, str]
    threshold: float
    """Scores must be above it."""
    min_value: float = 0.0
    select: frozenset[str] = frozenset()
    """Ids or names; empty: all."""


def regions_of(rows: np.ndarray, shown: Shown) -> list[resources_pb2.Region]:
    """Regions of one picture, highest score first, each with one concept. `rows` as in learn/detection/found.py."""
    regions = []
    for top, left, bottom, right, score, label in boxes_in(rows).tolist():
        concept_id = shown.concept_ids[int(label)]
        name = shown.names.get(concept_id, concept_id)
        if score <= shown.threshold or score < shown.min_value:
            break
        if shown.select and concept_id not in shown.select and name not in shown.select:
            continue
        region = resources_pb2.Region(id=new_id(), value=score)
        region.region_info.bounding_box.CopyFrom(
            resources_pb2.BoundingBox(top_row=top, left_col=left, bottom_row=bottom, right_col=right)
        )
        region.data.concepts.add(id=concept_id, name=name, value=score)
        regions.append(region)
    return regions


def threshold_of(asked: Sequence[resources_pb2.OutputInfo], own: resources_pb2.OutputInfo, bundle: Bundle) -> float:
    """The request's own threshold, else the version's: its output_info's where that was changed, else its form's.

    Clients fill a version's output_info with the advertised default, which says nothing.
    Raises InvalidPrediction for a value that is not within 0 and 1.
    """
    for info in asked:
        given = _given(info)
        if given is not None:
            return given
    mine = _given(own)
    if mine is not None and mine != DEFAULT_THRESHOLD:
        return mine
    return float(bundle.form.get("detection_score_threshold", DEFAULT_THRESHOLD))


def _given(info: resources_pb2.OutputInfo) -> float | None:
    params = from_struct(info.params)
    for name in THRESHOLDS:
        value = params.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise InvalidPrediction(f"output_info.params.{name} is a number from 0 to 1; given {value!r}.")
        return float(value)
    return None
