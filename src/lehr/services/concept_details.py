"""Concepts in other languages, and on how many inputs they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from lehr.errors import Duplicate, InvalidConcept, NotFound
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.patch import OVERWRITE, checked_action, patched
from lehr.services.concepts import MAX_NAME_LENGTH
from lehr.services.paging import Paging
from lehr.store import concept_details as rows
from lehr.store import concepts as concept_rows
from lehr.store.db import Database

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[0-9A-Za-z]{2,8})*")
MAX_LANGUAGES = 128
"""In one request."""


@dataclass(frozen=True, kw_only=True)
class ConceptDetails:
    """Needs only the store. A concept's own language is its own name; the others are kept beside it."""

    db: Database

    def counts(self, ref: AppRef, paging: Paging) -> list[resources_pb2.ConceptCount]:
        """Counts of a page of the app's concepts, oldest first."""
        with self.db.read() as tx:
            return rows.counts(tx, ref, concept_rows.page(tx, ref, **paging._asdict()))

    def language(self, ref: AppRef, concept_id: str, language: str) -> resources_pb2.ConceptLanguage:
        """The concept in one language. Raises NotFound."""
        with self.db.read() as tx:
            concept, key = _found(tx, ref, concept_id)
            return _own(concept) if language == concept.language else _in_language(tx, key, concept_id, language)

    def languages(self, ref: AppRef, concept_id: str, paging: Paging) -> list[resources_pb2.ConceptLanguage]:
        """A page of the concept's languages, its own first. Raises NotFound."""
        with self.db.read() as tx:
            concept, key = _found(tx, ref, concept_id)
            found = [_own(concept), *rows.languages(tx, key)]
        start = (paging.page - 1) * paging.per_page
        return found[start : start + paging.per_page]

    def add(
        self, ref: AppRef, concept_id: str, wanted: Sequence[resources_pb2.ConceptLanguage]
    ) -> list[resources_pb2.ConceptLanguage]:
        """Adds languages, all or none; one that is there as it is wanted is answered. Raises Duplicate for another."""
        _check_number(wanted)
        with self.db.write() as tx:
            concept, key = _found(tx, ref, concept_id)
            return [_added(tx, concept, key, order) for order in wanted]

    def patch(
        self, ref: AppRef, concept_id: str, changes: Sequence[resources_pb2.ConceptLanguage], action: str
    ) -> list[resources_pb2.ConceptLanguage]:
        """Changes names and definitions, all or none; in the concept's own language it is the concept that changes.

        Raises NotFound, InvalidConcept, InvalidRequest for an unknown action.
        """
        checked_action(action or OVERWRITE, [OVERWRITE])
        _check_number(changes)
        with self.db.write() as tx:
            concept, key = _found(tx, ref, concept_id)
            return [_patched(tx, ref, concept, key, change) for change in changes]


def _found(tx: Connection, ref: AppRef, concept_id: str) -> tuple[resources_pb2.Concept, int]:
    concept, key = concept_rows.get(tx, ref, concept_id), rows.key_of(tx, ref, concept_id)
    if concept is None or key is None:
        raise NotFound(f"There is no concept {concept_id!r} in app {ref.app_id!r}.")
    return concept, key


def _in_language(tx: Connection, key: int, concept_id: str, language: str) -> resources_pb2.ConceptLanguage:
    found = rows.language(tx, key, language)
    if found is None:
        there = ", ".join(each.id for each in rows.languages(tx, key)) or "none but its own"
        raise NotFound(f"Concept {concept_id!r} has no name in language {language!r}; there are: {there}.")
    return found


def _own(concept: resources_pb2.Concept) -> resources_pb2.ConceptLanguage:
    return resources_pb2.ConceptLanguage(id=concept.language, name=concept.name, definition=concept.definition)


def _added(
    tx: Connection, concept: resources_pb2.Concept, key: int, order: resources_pb2.ConceptLanguage
) -> resources_pb2.ConceptLanguage:
    wanted = _checked(order)
    present = _own(concept) if wanted.id == concept.language else rows.language(tx, key, wanted.id)
    if present is None:
        rows.insert_language(tx, key, wanted)
        return wanted
    if present != wanted:
        raise Duplicate(
            f"Concept {concept.id!r} has a name in language {wanted.id!r} already: {present.name!r}; patch it."
        )
    return present


def _patched(
    tx: Connection, ref: AppRef, concept: resources_pb2.Concept, key: int, change: resources_pb2.ConceptLanguage
) -> resources_pb2.ConceptLanguage:
    if change.id != concept.language:
        done = _checked(patched(_in_language(tx, key, concept.id, change.id), change, OVERWRITE))
        rows.update_language(tx, key, done)
        return done
    done = _checked(patched(_own(concept), change, OVERWRITE))
    concept.name, concept.definition = done.name, done.definition
    concept_rows.update(tx, ref, [concept])
    return done


def _checked(order: resources_pb2.ConceptLanguage) -> resources_pb2.ConceptLanguage:
    if not _LANGUAGE.fullmatch(order.id):
        raise InvalidConcept(f"Language {order.id[:40]!r} is not usable as an id: write a code like en, de or zh-TW.")
    if not order.name or len(order.name) > MAX_NAME_LENGTH or "\0" in order.name + order.definition:
        raise InvalidConcept(f"A name in {order.id!r} has 1 to {MAX_NAME_LENGTH} characters, no NUL.")
    return order


def _check_number(orders: Sequence[resources_pb2.ConceptLanguage]) -> None:
    if not 1 <= len(orders) <= MAX_LANGUAGES:
        raise InvalidConcept(f"A request carries 1 to {MAX_LANGUAGES} concept_languages; this one has {len(orders)}.")
