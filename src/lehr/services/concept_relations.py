"""Relations between concepts: more general, more special, the same. Said once, and never in a circle."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from lehr.errors import InvalidConcept, NotFound
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef, checked_id, new_id
from lehr.services.paging import Paging
from lehr.store import concept_details
from lehr.store import concept_relations as rows
from lehr.store.concept_relations import RelationFilter
from lehr.store.db import Database

HYPERNYM, HYPONYM, SYNONYM = PREDICATES = ("hypernym", "hyponym", "synonym")
"""The object is more general than the subject; more special; the same."""
MAX_RELATIONS = 128
MAX_GRAPHS = 128
"""In one request."""


@dataclass(frozen=True, kw_only=True)
class ConceptRelations:
    """Needs only the store."""

    db: Database

    def create(
        self, ref: AppRef, concept_id: str, wanted: Sequence[resources_pb2.ConceptRelation]
    ) -> list[resources_pb2.ConceptRelation]:
        """Relates the concept to others, all or none. What was said before is answered as it stands.

        Raises NotFound for a concept or graph, InvalidConcept for a predicate or a circle, Duplicate for a taken id.
        """
        if not 1 <= len(wanted) <= MAX_RELATIONS:
            raise InvalidConcept(f"A request makes 1 to {MAX_RELATIONS} relations; this one has {len(wanted)}.")
        with self.db.write() as tx:
            return [self._created(tx, ref, concept_id, order) for order in wanted]

    @staticmethod
    def _created(
        tx: Connection, ref: AppRef, concept_id: str, order: resources_pb2.ConceptRelation
    ) -> resources_pb2.ConceptRelation:
        relation = _checked(concept_id, order)
        ends = (relation.subject_concept.id, relation.object_concept.id)
        keys = {end: _key_of(tx, ref, end) for end in ends}
        _check_graph(tx, ref, relation.knowledge_graph_id)
        present = rows.find(tx, ref, relation)
        if present is not None:
            return present
        _check_circle(tx, ref, relation)
        rows.insert(tx, ref, relation, keys)
        return rows.find(tx, ref, relation) or relation

    def list_of(self, ref: AppRef, filters: RelationFilter, paging: Paging) -> list[resources_pb2.ConceptRelation]:
        """A page of the app's relations, oldest first. Raises NotFound for a concept that is not there."""
        with self.db.read() as tx:
            if filters.subject_id:
                _key_of(tx, ref, filters.subject_id)
            return rows.page(tx, ref, **paging._asdict(), filters=filters)

    def delete(self, ref: AppRef, concept_id: str, ids: Sequence[str]) -> int:
        """Deletes relations of the concept. No ids: nothing is deleted. Raises NotFound."""
        with self.db.write() as tx:
            _key_of(tx, ref, concept_id)
            return rows.delete(tx, ref, concept_id, ids)

    def create_graphs(
        self, ref: AppRef, wanted: Sequence[resources_pb2.KnowledgeGraph]
    ) -> list[resources_pb2.KnowledgeGraph]:
        """Makes graphs for relations to belong to, all or none. Raises Duplicate, InvalidConcept."""
        if not 1 <= len(wanted) <= MAX_GRAPHS:
            raise InvalidConcept(f"A request makes 1 to {MAX_GRAPHS} knowledge graphs; this one has {len(wanted)}.")
        made = []
        with self.db.write() as tx:
            for order in wanted:
                graph = resources_pb2.KnowledgeGraph()
                graph.CopyFrom(order)
                graph.id = checked_id(order.id, "Knowledge graph", refuse=InvalidConcept) if order.id else new_id()
                graph.name = order.name or graph.id
                rows.insert_graph(tx, ref, graph)
                made.append(graph)
        return made

    def list_graphs(self, ref: AppRef) -> list[resources_pb2.KnowledgeGraph]:
        """The app's graphs, oldest first."""
        with self.db.read() as tx:
            return rows.graphs(tx, ref)


def _checked(concept_id: str, order: resources_pb2.ConceptRelation) -> resources_pb2.ConceptRelation:
    subject, other = order.subject_concept.id or concept_id, order.object_concept.id
    if subject != concept_id:
        raise InvalidConcept(
            f"The subject is the concept of the address, {concept_id!r}; this relation has {subject!r}."
        )
    if order.predicate not in PREDICATES:
        raise InvalidConcept(f"Predicate {order.predicate!r} is not known; there are: {', '.join(PREDICATES)}.")
    if other == subject:
        raise InvalidConcept(f"Concept {subject!r} cannot be the {order.predicate} of itself.")
    return resources_pb2.ConceptRelation(
        id=checked_id(order.id, "Concept relation", refuse=InvalidConcept) if order.id else new_id(),
        subject_concept=resources_pb2.Concept(id=subject),
        object_concept=resources_pb2.Concept(id=other),
        predicate=order.predicate,
        knowledge_graph_id=order.knowledge_graph_id,
    )


def _key_of(tx: Connection, ref: AppRef, concept_id: str) -> int:
    key = concept_details.key_of(tx, ref, concept_id)
    if key is None:
        raise NotFound(f"There is no concept {concept_id!r} in app {ref.app_id!r}.")
    return key


def _check_graph(tx: Connection, ref: AppRef, graph_id: str) -> None:
    if graph_id and rows.graph(tx, ref, graph_id) is None:
        raise NotFound(f"There is no knowledge graph {graph_id!r} in app {ref.app_id!r}: make it first.")


def _check_circle(tx: Connection, ref: AppRef, new: resources_pb2.ConceptRelation) -> None:
    """Raises InvalidConcept where the new relation would make a concept more general than itself."""
    if new.predicate == SYNONYM:
        return
    special, general = new.subject_concept.id, new.object_concept.id
    if new.predicate == HYPONYM:
        special, general = general, special
    above: dict[str, set[str]] = defaultdict(set)
    for subject, predicate, other in rows.edges(tx, ref, new.knowledge_graph_id):
        if predicate == HYPERNYM:
            above[subject].add(other)
        elif predicate == HYPONYM:
            above[other].add(subject)
    seen, ahead = {general}, [general]
    while ahead:
        for higher in above[ahead.pop()] - seen:
            seen.add(higher)
            ahead.append(higher)
    if special in seen:
        raise InvalidConcept(
            f"{special!r} is more general than {general!r} already, by what was said before; it cannot be more special "
            "too. Delete the relation that is wrong."
        )
