"""Which inputs and regions of an app carry which concepts, as far as labels may be learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, and_, or_, select

from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.store.facts import Trait
from lehr.store.rows import Noun, app_key
from lehr.store.tables import annotation_concepts, concept_relations, concepts, input_annotations

__all__ = ["Label", "labels", "related"]

_CONCEPTS = Noun(
    table=concepts, message=resources_pb2.Concept, columns=lambda one: {"id": one.id, "name": one.name}, what="concept"
)


class Label(NamedTuple):
    """A concept that is true of an input, or of a region of it."""

    input_key: int
    annotation_key: int
    concept_id: str


def labels(tx: Connection, ref: AppRef, concept_ids: Sequence[str], *, of_regions: bool) -> list[Label]:
    """The positive labels of inputs as a whole (or of parts of them), for these concepts, or for all if none is named.

    Only those that a person gave, or accepted: ANNOTATION_SUCCESS.
    """
    noted, notes = annotation_concepts.c, input_annotations.c
    is_part = notes.traits.bitwise_and(int(Trait.PART)) != 0
    query = (
        select(noted.input_key, noted.annotation_key, noted.concept_id)
        .join(input_annotations, notes.key == noted.annotation_key)
        .where(noted.app_key == app_key(ref), noted.is_positive)
        .where(notes.status_code == status_code_pb2.ANNOTATION_SUCCESS, is_part if of_regions else ~is_part)
    )
    if concept_ids:
        query = query.where(noted.concept_id.in_(list(concept_ids)))
    return [Label(*row) for row in tx.execute(query)]


def related(
    tx: Connection, ref: AppRef, predicate: str, knowledge_graph_id: str
) -> dict[str, list[resources_pb2.Concept]]:
    """Id of a concept → the app's concepts that the app's relations of this predicate join to it, in either direction.

    An empty graph id means all of the app's relations.
    """
    relation, own, other = concept_relations.c, concepts.alias("own"), concepts.alias("other")
    forwards = and_(own.c.key == relation.subject_key, other.c.key == relation.object_key)
    backwards = and_(own.c.key == relation.object_key, other.c.key == relation.subject_key)
    query = (
        select(other.c.id, own.c.message)
        .select_from(concept_relations)
        .join(own, or_(own.c.key == relation.subject_key, own.c.key == relation.object_key))
        .join(other, or_(forwards, backwards))
        .where(relation.app_key == app_key(ref), relation.predicate == predicate, own.c.app_key == app_key(ref))
    )
    if knowledge_graph_id:
        query = query.where(relation.knowledge_graph_id == knowledge_graph_id)
    found: dict[str, list[resources_pb2.Concept]] = {}
    for row in tx.execute(query):
        found.setdefault(row.id, []).append(_CONCEPTS.parse(row.message))
    return found
