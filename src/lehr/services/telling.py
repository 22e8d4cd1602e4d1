"""How a model's outputs are told: which concepts and boxes of them, as what Data message, under which names."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from sqlalchemy import Connection

from lehr.errors import InvalidPrediction
from lehr.learn.bundle import Bundle, read_bundle
from lehr.protocol import resources_pb2
from lehr.protocol.ids import PUBLIC_APP, AppRef
from lehr.protocol.structs import from_struct
from lehr.services.predicted_regions import Shown, regions_of, threshold_of
from lehr.store import concepts as concept_rows

DEFAULT_MAX_CONCEPTS = 20


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which of a model's concepts an answer carries."""

    max_concepts: int = DEFAULT_MAX_CONCEPTS
    min_value: float = 0.0
    select: frozenset[str] = frozenset()
    """Ids or names; empty: all."""


@lru_cache(maxsize=256)
def known_bundle(folder: Path) -> Bundle:
    """The bundle's sheet, read once: a folder's name is the hash of what is in it."""
    return read_bundle(folder)


def chosen(model: resources_pb2.Model, asked: resources_pb2.Model) -> Choice:
    """What to return: the request's own wishes first (old and new clients put them in different places), then the
    version's."""
    layers = [asked.model_version.output_info, asked.output_info, model.model_version.output_info]
    return Choice(
        max_concepts=next(filter(None, map(_limit, layers)), DEFAULT_MAX_CONCEPTS),
        min_value=next(filter(None, map(_floor, layers)), 0.0),
        select=next(filter(None, map(_selected, layers)), frozenset()),
    )


def telling(
    bundle: Bundle, names: dict[str, str], model: resources_pb2.Model, asked: resources_pb2.Model
) -> Callable[[np.ndarray], resources_pb2.Data]:
    """How one picture's outputs become data: concepts of the whole, or regions with theirs."""
    choice = chosen(model, asked)
    if bundle.output == "embedding":
        return _embedded
    check_selection(choice, bundle.concepts, names)
    if bundle.output != "detections":
        return lambda values: resources_pb2.Data(concepts=best_concepts(values, bundle.concepts, names, choice))
    asks = (asked.model_version.output_info, asked.output_info)
    shown = Shown(
        concept_ids=bundle.concepts,
        names=names,
        threshold=threshold_of(asks, model.model_version.output_info, bundle),
        min_value=choice.min_value,
        select=choice.select,
    )
    return lambda rows: resources_pb2.Data(regions=regions_of(rows, shown))


def _embedded(vector: np.ndarray) -> resources_pb2.Data:
    return resources_pb2.Data(embeddings=[resources_pb2.Embedding(vector=vector.tolist(), num_dimensions=len(vector))])


def _limit(info: resources_pb2.OutputInfo) -> int:
    return info.output_config.max_concepts or int(_number(info, "max_concepts"))


def _floor(info: resources_pb2.OutputInfo) -> float:
    return info.output_config.min_value or _number(info, "min_value")


def _number(info: resources_pb2.OutputInfo, name: str) -> float:
    value = from_struct(info.params).get(name) or 0
    if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise InvalidPrediction(f"output_info.params.{name} is a number from 0 up; given {value!r}.")
    return float(value)


def check_selection(choice: Choice, concept_ids: Sequence[str], names: dict[str, str]) -> None:
    """Raises InvalidPrediction for selected concepts that the model does not know: an empty answer would hide the typo.

    Where an id and a name were given for one concept, either of them will do.
    """
    known = {*concept_ids, *names.values()}
    if choice.select and not choice.select & known:
        unknown = ", ".join(repr(name) for name in sorted(choice.select)[:5])
        some = ", ".join(list(concept_ids)[:10])
        raise InvalidPrediction(f"select_concepts names {unknown}, which the model does not know; it knows: {some}.")


def _selected(info: resources_pb2.OutputInfo) -> frozenset[str]:
    """Ids and names of the concepts to return: objects in output_config, texts or objects in params."""
    listed = {text for concept in info.output_config.select_concepts for text in (concept.id, concept.name)}
    in_params = from_struct(info.params).get("select_concepts")
    for item in in_params if isinstance(in_params, list) else []:
        listed.update((str(item.get("id", "")), str(item.get("name", ""))) if isinstance(item, dict) else (str(item),))
    return frozenset(listed - {""})


def concept_names(tx: Connection, ref: AppRef, model: resources_pb2.Model) -> dict[str, str]:
    """Concept id → what it is called now."""
    if ref == PUBLIC_APP:  # never renamed, and a thousand of them
        return {concept.id: concept.name for concept in model.model_version.output_info.data.concepts}
    ids = [concept.id for concept in model.model_version.output_info.data.concepts]
    return {concept_id: concept.name for concept_id, concept in concept_rows.get_many(tx, ref, ids).items()}


def best_concepts(
    values: np.ndarray, concept_ids: Sequence[str], names: dict[str, str], choice: Choice
) -> list[resources_pb2.Concept]:
    """The best concepts, highest value first; equal values in the model's own order."""
    order = np.argsort(-values, kind="stable")
    picked: list[resources_pb2.Concept] = []
    for index in order:
        concept_id, value = concept_ids[index], float(values[index])
        name = names.get(concept_id, concept_id)
        if value < choice.min_value or len(picked) == choice.max_concepts:
            break
        if not choice.select or concept_id in choice.select or name in choice.select:
            picked.append(resources_pb2.Concept(id=concept_id, name=name, value=value))
    return picked


def shown_model(model: resources_pb2.Model) -> resources_pb2.Model:
    """The model as an output names it: who it is, without its configuration."""
    return resources_pb2.Model(
        id=model.id,
        name=model.name,
        app_id=model.app_id,
        user_id=model.user_id,
        model_type_id=model.model_type_id,
        created_at=model.created_at,
        model_version=resources_pb2.ModelVersion(
            id=model.model_version.id,
            created_at=model.model_version.created_at,
            status=model.model_version.status,
            app_id=model.app_id,
            user_id=model.user_id,
        ),
    )
