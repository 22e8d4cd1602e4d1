"""What else is kept of concepts: their names in other languages, and on how many inputs they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.store.rows import Noun, app_key
from lehr.store.tables import annotation_concepts, concepts, inputs
from lehr.store.tables import concept_languages as table

__all__ = ["counts", "insert_language", "key_of", "language", "languages", "named_in", "update_language"]

_LANGUAGES = Noun(
    table=table,
    message=resources_pb2.ConceptLanguage,
    columns=lambda one: {"id": one.id},
    what="language",
)
_STATES = {
    status_code_pb2.INPUT_DOWNLOAD_SUCCESS: "processed",
    status_code_pb2.INPUT_DOWNLOAD_PENDING: "to_process",
    status_code_pb2.INPUT_DOWNLOAD_IN_PROGRESS: "processing",
}
"""Fields of DetailConceptCount; any other state of an input is an error."""


def key_of(tx: Connection, ref: AppRef, concept_id: str) -> int | None:
    """The concept's key."""
    is_it = (concepts.c.app_key == app_key(ref), concepts.c.id == concept_id)
    return tx.execute(select(concepts.c.key).where(*is_it)).scalar()


def insert_language(tx: Connection, concept_key: int, name: resources_pb2.ConceptLanguage) -> None:
    """Raises Duplicate."""
    _LANGUAGES.insert(tx, [name], concept_key=concept_key)


def _is(concept_key: int, language: str) -> tuple[ColumnElement[bool], ...]:
    return table.c.concept_key == concept_key, table.c.id == language


def language(tx: Connection, concept_key: int, language: str) -> resources_pb2.ConceptLanguage | None:
    """The concept in this language."""
    return _LANGUAGES.first(tx, *_is(concept_key, language))


def languages(tx: Connection, concept_key: int) -> list[resources_pb2.ConceptLanguage]:
    """The concept in every language that was added, in the order of their codes."""
    query = select(table.c.message).where(table.c.concept_key == concept_key).order_by(table.c.id)
    return _LANGUAGES.messages(tx, query)


def named_in(tx: Connection, ref: AppRef, language: str) -> list[resources_pb2.Concept]:
    """The app's concepts that have a name in this language, oldest first, each under that name."""
    both = table.join(concepts, concepts.c.key == table.c.concept_key)
    mine = (concepts.c.app_key == app_key(ref), table.c.id == language)
    query = select(concepts.c.message.label("concept"), table.c.message).select_from(both).where(*mine)
    made = []
    for row in tx.execute(query.order_by(concepts.c.key)):
        concept, name = resources_pb2.Concept(), _LANGUAGES.parse(row.message)
        concept.MergeFromString(row.concept)
        concept.name, concept.definition, concept.language = name.name, name.definition, language
        made.append(concept)
    return made


def update_language(tx: Connection, concept_key: int, name: resources_pb2.ConceptLanguage) -> None:
    """Writes the whole message. Raises NotFound."""
    _LANGUAGES.update(tx, name, *_is(concept_key, name.id))


def counts(tx: Connection, ref: AppRef, wanted: Sequence[resources_pb2.Concept]) -> list[resources_pb2.ConceptCount]:
    """On how many inputs each concept is, or is said not to be: in all, and by the state of the inputs."""
    found = _counted(tx, ref, [concept.id for concept in wanted])
    made = []
    for concept in wanted:
        count = resources_pb2.ConceptCount(id=concept.id, name=concept.name)
        for status_code, is_positive, number in found[concept.id]:
            sign = "positive" if is_positive else "negative"
            of_state = getattr(count.detail_concept_count, _STATES.get(status_code, "errors"))
            for total in (count.concept_type_count, of_state):
                setattr(total, sign, getattr(total, sign) + number)
        made.append(count)
    return made


def _counted(tx: Connection, ref: AppRef, ids: Sequence[str]) -> dict[str, list[tuple[int, bool, int]]]:
    """Concept id → (status of the inputs, whether it is there, how many inputs)."""
    facts = annotation_concepts.c
    columns: tuple[Any, ...] = (facts.concept_id, inputs.c.status_code, facts.is_positive)
    query = (
        select(*columns, func.count(facts.input_key.distinct()).label("number"))
        .select_from(annotation_concepts.join(inputs, inputs.c.key == facts.input_key))
        .where(facts.app_key == app_key(ref), facts.concept_id.in_(list(ids)))
        .group_by(*columns)
    )
    found: dict[str, list[tuple[int, bool, int]]] = defaultdict(list)
    for row in tx.execute(query):
        found[row.concept_id].append((row.status_code, bool(row.is_positive), row.number))
    return found
