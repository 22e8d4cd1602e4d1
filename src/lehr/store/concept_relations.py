"""What concepts are to one another (`hypernym`, `hyponym`, `synonym`), and the graphs that relations may belong to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, select

from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store.rows import Noun, app_key, app_key_of, paged
from lehr.store.tables import concept_relations as table
from lehr.store.tables import concepts, knowledge_graphs

__all__ = ["RelationFilter", "delete", "edges", "find", "graph", "graphs", "insert", "insert_graph", "page"]


@dataclass(frozen=True, kw_only=True)
class RelationFilter:
    """Which relations; an empty field means any."""

    subject_id: str = ""
    predicate: str = ""
    knowledge_graph_id: str = ""


_RELATIONS = Noun(
    table=table,
    message=resources_pb2.ConceptRelation,
    columns=lambda one: {
        "id": one.id,
        "predicate": one.predicate,
        "knowledge_graph_id": one.knowledge_graph_id,
    },
    what="concept relation",
)
_GRAPHS = Noun(
    table=knowledge_graphs,
    message=resources_pb2.KnowledgeGraph,
    columns=lambda graph: {"id": graph.id},
    what="knowledge graph",
)
_SUBJECT, _OBJECT = concepts.alias("subject"), concepts.alias("object")


def insert(tx: Connection, ref: AppRef, relation: resources_pb2.ConceptRelation, keys: Mapping[str, int]) -> None:
    """`keys`: of the concepts, by id. The stored message names no concept: they may be renamed. Raises Duplicate."""
    bare = resources_pb2.ConceptRelation()
    bare.CopyFrom(relation)
    bare.ClearField("subject_concept")
    bare.ClearField("object_concept")
    ends = {"subject_key": keys[relation.subject_concept.id], "object_key": keys[relation.object_concept.id]}
    _RELATIONS.insert(tx, [bare], app_key=app_key_of(tx, ref), **ends)


def page(
    tx: Connection, ref: AppRef, *, page: int, per_page: int, filters: RelationFilter = RelationFilter()
) -> list[resources_pb2.ConceptRelation]:
    """The app's relations, oldest first, with their concepts as they are now."""
    query = _joined(ref).where(*_matches(filters)).order_by(table.c.key)
    return [_whole(row) for row in tx.execute(paged(query, page, per_page))]


def find(tx: Connection, ref: AppRef, relation: resources_pb2.ConceptRelation) -> resources_pb2.ConceptRelation | None:
    """The relation that says the same: between the same concepts, with the same predicate, in the same graph."""
    same = (
        _SUBJECT.c.id == relation.subject_concept.id,
        _OBJECT.c.id == relation.object_concept.id,
        table.c.predicate == relation.predicate,
        table.c.knowledge_graph_id == relation.knowledge_graph_id,
    )
    row = tx.execute(_joined(ref).where(*same)).first()
    return None if row is None else _whole(row)


def edges(tx: Connection, ref: AppRef, knowledge_graph_id: str) -> list[tuple[str, str, str]]:
    """Subject id, predicate and object id of every relation in a graph."""
    query = _joined(ref).where(table.c.knowledge_graph_id == knowledge_graph_id)
    return [(_concept(row.subject).id, row.predicate, _concept(row.object).id) for row in tx.execute(query)]


def delete(tx: Connection, ref: AppRef, subject_id: str, ids: Iterable[str]) -> int:
    """Deletes those of these ids whose subject is the concept."""
    is_subject = (concepts.c.app_key == app_key(ref), concepts.c.id == subject_id)
    of_subject = table.c.subject_key.in_(select(concepts.c.key).where(*is_subject))
    return _RELATIONS.delete(tx, of_subject, table.c.id.in_(list(ids)))


def insert_graph(tx: Connection, ref: AppRef, graph: resources_pb2.KnowledgeGraph) -> None:
    """Raises Duplicate."""
    _GRAPHS.insert(tx, [graph], app_key=app_key_of(tx, ref))


def graph(tx: Connection, ref: AppRef, graph_id: str) -> resources_pb2.KnowledgeGraph | None:
    """The graph of this id."""
    return _GRAPHS.first(tx, knowledge_graphs.c.app_key == app_key(ref), knowledge_graphs.c.id == graph_id)


def graphs(tx: Connection, ref: AppRef) -> list[resources_pb2.KnowledgeGraph]:
    """All graphs of the app, oldest first."""
    mine = select(knowledge_graphs.c.message).where(knowledge_graphs.c.app_key == app_key(ref))
    return _GRAPHS.messages(tx, mine.order_by(knowledge_graphs.c.key))


def _joined(ref: AppRef) -> Select[Any]:
    both = table.join(_SUBJECT, _SUBJECT.c.key == table.c.subject_key)
    columns = (
        table.c.message,
        table.c.predicate,
        _SUBJECT.c.message.label("subject"),
        _OBJECT.c.message.label("object"),
    )
    origin = both.join(_OBJECT, _OBJECT.c.key == table.c.object_key)
    return select(*columns).select_from(origin).where(table.c.app_key == app_key(ref))


def _matches(filters: RelationFilter) -> list[ColumnElement[bool]]:
    wanted = (
        (_SUBJECT.c.id, filters.subject_id),
        (table.c.predicate, filters.predicate),
        (table.c.knowledge_graph_id, filters.knowledge_graph_id),
    )
    return [column == value for column, value in wanted if value]


def _whole(row: Any) -> resources_pb2.ConceptRelation:
    relation = _RELATIONS.parse(row.message)
    relation.subject_concept.CopyFrom(_concept(row.subject))
    relation.object_concept.CopyFrom(_concept(row.object))
    return relation


def _concept(data: bytes) -> resources_pb2.Concept:
    concept = resources_pb2.Concept()
    concept.MergeFromString(data)
    return concept
