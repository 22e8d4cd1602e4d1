"""Concepts: made, found, renamed; and made on the fly by whatever is labelled with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from lehr.errors import Duplicate, InvalidConcept, InvalidRequest, NotFound
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef, new_id
from lehr.protocol.patch import OVERWRITE, patched
from lehr.services.batches import chunks
from lehr.services.paging import MAX_PER_PAGE, Paging
from lehr.store import concept_details
from lehr.store import concepts as concept_rows
from lehr.store.db import Database

MAX_ID_LENGTH = 128
MAX_NAME_LENGTH = 1000
MAX_CONCEPTS = 1000
"""Concepts in one request."""
LANGUAGE = "en"

_UNFIT_ID = re.compile(r"[/\\]|^\s|\s$")


@dataclass(frozen=True, kw_only=True)
class Concepts:
    """Needs only the store."""

    db: Database

    def create(self, ref: AppRef, wanted: Sequence[resources_pb2.Concept]) -> list[resources_pb2.Concept]:
        """Makes the concepts, all or none. Raises InvalidConcept, also for a duplicate."""
        if not 1 <= len(wanted) <= MAX_CONCEPTS:
            raise InvalidConcept(f"A request makes 1 to {MAX_CONCEPTS} concepts; this one has {len(wanted)}.")
        made = [_new(ref, order) for order in wanted]
        ids = [concept.id for concept in made]
        with self.db.write() as tx:
            present = concept_rows.get_many(tx, ref, ids)
            doubled = sorted({id_ for id_ in ids if id_ in present or ids.count(id_) > 1})
            if doubled:
                raise _duplicate(doubled)
            concept_rows.insert(tx, ref, made)
        return made

    def get(self, ref: AppRef, concept_id: str) -> resources_pb2.Concept:
        """One concept. Raises NotFound."""
        with self.db.read() as tx:
            return _found(tx, ref, concept_id)

    def list_of(self, ref: AppRef, paging: Paging, *, like: str = "") -> list[resources_pb2.Concept]:
        """A page of the app's concepts, oldest first; `like` is a part of the id, where `*` stands for anything."""
        with self.db.read() as tx:
            if not like:
                return concept_rows.page(tx, ref, page=paging.page, per_page=paging.per_page)
            return _cut((concept for concept in _all(tx, ref) if _is_like(concept.id, like)), paging)

    def search(self, ref: AppRef, name: str, paging: Paging, *, language: str = "") -> list[resources_pb2.Concept]:
        """A page of the concepts whose name or id contains `name`, small and capital letters alike; `*` is anything.

        With another language than their own, those that have a name in it, under that name.
        """
        with self.db.read() as tx:
            all_ = concept_details.named_in(tx, ref, language) if language not in ("", LANGUAGE) else _all(tx, ref)
            found = (item for item in all_ if _is_like(item.name, name) or _is_like(item.id, name))
            return _cut(found, paging)

    def patch(self, ref: AppRef, changes: Sequence[resources_pb2.Concept], action: str) -> list[resources_pb2.Concept]:
        """Changes names, definitions, metadata; all or none. Raises NotFound, and InvalidRequest for another action."""
        if (action or OVERWRITE) != OVERWRITE:
            raise InvalidRequest(f"Concepts are patched with {OVERWRITE!r}, not with {action!r}.")
        done = []
        with self.db.write() as tx:
            for change in changes:
                stored = _found(tx, ref, change.id)
                concept = patched(stored, change, OVERWRITE)
                concept.app_id, concept.user_id, concept.language = stored.app_id, stored.user_id, stored.language
                concept.created_at.CopyFrom(stored.created_at)
                concept.ClearField("value")
                concept_rows.update(tx, ref, [concept])
                done.append(concept)
        return done


def checked_concept_id(value: str) -> str:
    """The id itself, or InvalidConcept with a sentence.

    Labels come from folder and column names of any language, so more is accepted than of other ids: all but slashes and
    control characters, without space at either end.
    """
    if 0 < len(value) <= MAX_ID_LENGTH and value.isprintable() and not _UNFIT_ID.search(value):
        return value
    raise InvalidConcept(
        f"Concept id {value[:80]!r} is not usable: an id has 1 to {MAX_ID_LENGTH} characters, no slashes, no control "
        "characters, and no space at its ends."
    )


def ensure_concepts(tx: Connection, ref: AppRef, labels: Iterable[resources_pb2.Concept]) -> None:
    """Makes every label name a concept of the app: fills in its id, name and app, and makes concepts that are missing.

    A label without an id means the concept of that name. Values stay as they are. Raises InvalidConcept.
    """
    labels, ids = list(labels), {}
    for label in labels:
        if not label.id and label.name not in ids:
            ids[label.name] = _id_for(tx, ref, label.name)
        label.id = checked_concept_id(label.id or ids[label.name])
    known = _known(tx, ref, {label.id for label in labels})
    missing = {label.id: _new(ref, label) for label in labels if label.id not in known}
    if missing:
        known |= _made(tx, ref, missing)
    for label in labels:
        label.name, label.app_id = known[label.id].name, ref.app_id


def rename_labels(tx: Connection, ref: AppRef, labels: Iterable[resources_pb2.Concept]) -> None:
    """Gives labels, in place, the names that their concepts have by now: a concept may have been renamed since."""
    labels = list(labels)
    known = _known(tx, ref, {label.id for label in labels})
    for label in labels:
        if label.id in known:
            label.name = known[label.id].name


def _known(tx: Connection, ref: AppRef, ids: Iterable[str]) -> dict[str, resources_pb2.Concept]:
    """Those of the ids that exist; there may be more of them than one statement can name."""
    known: dict[str, resources_pb2.Concept] = {}
    for some in chunks(list(ids)):
        known |= concept_rows.get_many(tx, ref, some)
    return known


def _made(tx: Connection, ref: AppRef, missing: dict[str, resources_pb2.Concept]) -> dict[str, resources_pb2.Concept]:
    """The missing concepts, now there. On PostgreSQL somebody else may make one of them at the same moment."""
    try:
        concept_rows.insert(tx, ref, list(missing.values()))
    except Duplicate:
        present = _known(tx, ref, missing)
        rest = {id_: concept for id_, concept in missing.items() if id_ not in present}
        if not present:
            raise
        return present | (_made(tx, ref, rest) if rest else {})
    return missing


def _id_for(tx: Connection, ref: AppRef, name: str) -> str:
    if not name:
        raise InvalidConcept("A concept needs an id, or at least a name; this one has neither.")
    named = concept_rows.find(tx, ref, name)
    return named[0].id if named else _id_from(name)


def _id_from(name: str) -> str:
    """The name itself where it can be an id: people recognise it."""
    try:
        return checked_concept_id(name)
    except InvalidConcept:
        return new_id()


def _new(ref: AppRef, order: resources_pb2.Concept) -> resources_pb2.Concept:
    if not order.id and not order.name:
        raise InvalidConcept("A concept needs an id or a name; this one has neither.")
    concept = resources_pb2.Concept()
    concept.CopyFrom(order)
    for unwanted in ("value", "created_at", "extra_info"):
        concept.ClearField(unwanted)
    concept.id = checked_concept_id(order.id) if order.id else _id_from(order.name)
    concept.name = _checked_name(order.name or concept.id)
    concept.language, concept.app_id, concept.user_id = LANGUAGE, ref.app_id, ref.user_id
    return concept


def _checked_name(name: str) -> str:
    if len(name) <= MAX_NAME_LENGTH and "\0" not in name:
        return name
    raise InvalidConcept(f"Concept name {name[:80]!r} is not usable: it has 1 to {MAX_NAME_LENGTH} characters, no NUL.")


def _found(tx: Connection, ref: AppRef, concept_id: str) -> resources_pb2.Concept:
    concept = concept_rows.get(tx, ref, concept_id)
    if concept is None:
        raise NotFound(f"There is no concept {concept_id!r} in app {ref.app_id!r}.")
    return concept


def _duplicate(ids: Sequence[str]) -> InvalidConcept:
    shown = ", ".join(map(repr, ids[:5])) + (", …" if len(ids) > 5 else "")
    return InvalidConcept(f"Concept has a duplicate id: {shown} already exists in this app or twice in this request.")


def _is_like(text: str, wanted: str) -> bool:
    """Whether the parts of `wanted` between stars occur in this order. A stranger wrote it: no regular expression."""
    text, place = text.casefold(), 0
    for part in wanted.casefold().split("*"):
        place = text.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return True


def _all(tx: Connection, ref: AppRef) -> Iterator[resources_pb2.Concept]:
    page = 1
    while found := concept_rows.page(tx, ref, page=page, per_page=MAX_PER_PAGE):
        yield from found
        page += 1


def _cut(found: Iterable[resources_pb2.Concept], paging: Paging) -> list[resources_pb2.Concept]:
    start = (paging.page - 1) * paging.per_page
    return list(found)[start : start + paging.per_page]
