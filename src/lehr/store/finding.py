"""Finding inputs and annotations by conditions. Ranks nothing: what is found comes in the order of insertion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, false, func, not_, or_, select, true

from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store.conditions import Asked, Condition, Labels, OfAnnotation, OfInput
from lehr.store.facts import Trait
from lehr.store.inputs import sha_of_url
from lehr.store.looking import INFO, OF_ANNOTATION, OF_INPUT, Looking, among
from lehr.store.rows import app_key_of, paged
from lehr.store.tables import dataset_inputs, datasets, input_annotations, inputs

__all__ = [
    "FoundAnnotation",
    "FoundInput",
    "annotations_by_key",
    "annotations_found",
    "count",
    "inputs_by_key",
    "inputs_found",
    "is_annotation",
    "keys_of",
    "labelled",
    "page_annotations",
    "page_inputs",
    "silent_inputs_found",
]

Column = ColumnElement[Any]
Terms = list[ColumnElement[bool]]
_NOTES = input_annotations.c
_EMPTY = OfAnnotation()
_BARE = (
    "labels",
    "info",
    "id",
    "user_id",
    "model_version_id",
    "workflow_version_id",
    "task_id",
    "track_id",
    "cluster_id",
)
"""What an input without annotations says nothing of."""


@dataclass(frozen=True, kw_only=True)
class FoundInput:
    """An input and its key."""

    key: int
    message: resources_pb2.Input


@dataclass(frozen=True, kw_only=True)
class FoundAnnotation:
    """An annotation, its key and that of its input."""

    key: int
    input_key: int
    is_of_part: bool
    """Of a region, a frame …, not of the whole input."""
    message: resources_pb2.Annotation


# -- what is found -----------------------------------------------------------------------------------------------------


def inputs_found(tx: Connection, ref: AppRef, asked: Asked) -> Select[Any]:
    """Keys of the inputs, in the order of upload. Raises NotFound without the app."""
    look = Looking(tx=tx, app=app_key_of(tx, ref))
    where = [_of_inputs(look, condition, asked.as_of) for condition in asked.conditions]
    return select(inputs.c.key).where(*_alive(look, inputs.c, asked), *where).order_by(inputs.c.key)


def annotations_found(tx: Connection, ref: AppRef, asked: Asked) -> Select[Any]:
    """(key, input_key, traits) of the annotations, oldest first. Raises NotFound without the app."""
    look = Looking(tx=tx, app=app_key_of(tx, ref))
    where = [_of_annotations(look, condition) for condition in asked.conditions]
    chosen = select(_NOTES.key, _NOTES.input_key, _NOTES.traits)
    return chosen.where(*_alive(look, _NOTES, asked), *where).order_by(_NOTES.key)


def is_annotation(tx: Connection, ref: AppRef, asked: Asked) -> ColumnElement[bool]:
    """The condition on rows of `input_annotations` alone, for statements of other nouns."""
    look = Looking(tx=tx, app=app_key_of(tx, ref))
    return and_(*_alive(look, _NOTES, asked), *(_of_annotations(look, each) for each in asked.conditions))


def silent_inputs_found(tx: Connection, ref: AppRef, asked: Asked) -> Select[Any]:
    """Keys of inputs that fulfil the conditions by themselves, and of which no annotation says anything as a whole."""
    look = Looking(tx=tx, app=app_key_of(tx, ref))
    whole = _NOTES.traits.bitwise_and(int(Trait.PART)) == 0
    noted = exists().where(_NOTES.input_key == inputs.c.key, whole)
    where = [
        _signed(condition, [_bare(look, condition), *_input_part(look, condition)]) for condition in asked.conditions
    ]
    return select(inputs.c.key).where(*_alive(look, inputs.c, asked), ~noted, *where).order_by(inputs.c.key)


def count(tx: Connection, found: Select[Any]) -> int:
    """How many rows."""
    return int(tx.execute(select(func.count()).select_from(found.order_by(None).subquery())).scalar_one())


def page_inputs(tx: Connection, found: Select[Any], *, page: int, per_page: int) -> list[FoundInput]:
    """One page of `inputs_found`."""
    keys = list(tx.execute(paged(found, page, per_page)).scalars())
    messages = inputs_by_key(tx, keys)
    return [FoundInput(key=key, message=messages[key]) for key in keys]


def page_annotations(tx: Connection, found: Select[Any], *, page: int, per_page: int) -> list[FoundAnnotation]:
    """One page of `annotations_found`."""
    keys = [row.key for row in tx.execute(paged(found, page, per_page))]
    messages = annotations_by_key(tx, keys)
    return [messages[key] for key in keys]


def inputs_by_key(tx: Connection, keys: Iterable[int]) -> dict[int, resources_pb2.Input]:
    """Those that are there still."""
    found = {}
    for row in tx.execute(select(inputs.c.key, inputs.c.message).where(among(tx, inputs.c.key, keys))):
        found[row.key] = resources_pb2.Input()
        found[row.key].MergeFromString(row.message)
    return found


def annotations_by_key(tx: Connection, keys: Iterable[int]) -> dict[int, FoundAnnotation]:
    """Those that are there still."""
    chosen = select(_NOTES.key, _NOTES.input_key, _NOTES.traits, _NOTES.message).where(among(tx, _NOTES.key, keys))
    found = {}
    for row in tx.execute(chosen):
        message = resources_pb2.Annotation()
        message.MergeFromString(row.message)
        is_of_part = bool(row.traits & Trait.PART)
        found[row.key] = FoundAnnotation(key=row.key, input_key=row.input_key, is_of_part=is_of_part, message=message)
    return found


def keys_of(tx: Connection, ref: AppRef, input_id: str, annotation_id: str = "") -> tuple[int, int | None] | None:
    """The keys of an input and, if one is named, of its annotation; None where there is none."""
    app = app_key_of(tx, ref)
    if not annotation_id:
        key = tx.execute(select(inputs.c.key).where(inputs.c.app_key == app, inputs.c.id == input_id)).scalar()
        return None if key is None else (key, None)
    query = select(_NOTES.input_key, _NOTES.key).join(inputs, inputs.c.key == _NOTES.input_key)
    row = tx.execute(query.where(inputs.c.app_key == app, inputs.c.id == input_id, _NOTES.id == annotation_id)).first()
    return None if row is None else (row.input_key, row.key)


def labelled(tx: Connection, app: int, labels: Labels, *, limit: int) -> list[tuple[int, int]]:
    """(key, input key) of the newest annotations that carry one of the labels."""
    chosen = Looking(tx=tx, app=app).labelled(labels, "annotation_key")
    query = select(_NOTES.key, _NOTES.input_key).where(_NOTES.key.in_(chosen)).order_by(_NOTES.key.desc())
    return [(row.key, row.input_key) for row in tx.execute(query.limit(limit))]


def _alive(look: Looking, columns: Any, asked: Asked) -> Terms:
    until = [] if asked.as_of is None else [columns.created_at <= asked.as_of]
    return [columns.app_key == look.app, *until]


def _signed(condition: Condition, parts: Terms) -> ColumnElement[bool]:
    both = and_(true(), *parts)
    return not_(both) if condition.is_negated else both


# -- of inputs ---------------------------------------------------------------------------------------------------------


def _of_inputs(look: Looking, condition: Condition, as_of: int | None) -> ColumnElement[bool]:
    """What a condition asks of a row of `inputs`."""
    noted = [] if condition.annotation is None else [_noted(look, condition.annotation, as_of)]
    return _signed(condition, [*noted, *_input_part(look, condition)])


def _input_part(look: Looking, condition: Condition) -> Terms:
    return [] if condition.input is None else list(_input_terms(look, condition.input))


def _noted(look: Looking, asked: OfAnnotation, as_of: int | None) -> ColumnElement[bool]:
    """Whether an annotation of the input has it all, or the input itself.

    Each fact that counts for annotations and whole inputs alike is looked for in either place: an OR for each mix of
    places lets every part use its index.
    """
    own = list(_row_terms(look, asked))
    shared = list(_shared(look, asked))
    ways = []
    for places in product((True, False), repeat=len(shared)):
        rows = own + [fact.of_row for fact, in_row in zip(shared, places, strict=True) if in_row]
        whole = [fact.of_input(inputs.c.key) for fact, in_row in zip(shared, places, strict=True) if not in_row]
        ways.append(and_(true(), *whole, *([_has_note(look, asked, rows, as_of)] if rows else [])))
    return and_(or_(*ways, *_bare_terms(look, asked)), *_named_input(asked))


def _has_note(look: Looking, asked: OfAnnotation, rows: Terms, as_of: int | None) -> ColumnElement[bool]:
    if as_of is None and asked.labels is not None and len(rows) == 1 and replace(asked, labels=None) == _EMPTY:
        return inputs.c.key.in_(look.labelled(asked.labels, "input_key"))
    until = [] if as_of is None else [_NOTES.created_at <= as_of]
    return inputs.c.key.in_(select(_NOTES.input_key).where(_NOTES.app_key == look.app, *until, *rows))


def _bare(look: Looking, condition: Condition) -> ColumnElement[bool]:
    """Whether the input itself, without any annotation, fulfils the annotation part."""
    if condition.annotation is None:
        return true()
    return and_(or_(false(), *_bare_terms(look, condition.annotation)), *_named_input(condition.annotation))


def _bare_terms(look: Looking, asked: OfAnnotation) -> Terms:
    """One condition, or none where an input alone cannot fulfil it."""
    is_asked_more = any(getattr(asked, name) != getattr(_EMPTY, name) for name in _BARE)
    if is_asked_more or asked.status_code or asked.has_not or asked.has & ~Trait.INPUT_LEVEL:
        return []
    shared = [fact.of_input(inputs.c.key) for fact in _shared(look, asked)]
    return [and_(true(), *shared, *_between(inputs.c.modified_at, asked))]


def _named_input(asked: OfAnnotation) -> Terms:
    named = [inputs.c.id == asked.input_id] if asked.input_id else []
    return named + ([_has_url(asked.url)] if asked.url else [])


def _has_url(url: str) -> ColumnElement[bool]:
    return and_(inputs.c.url_sha.is_not(None), inputs.c.url_sha == sha_of_url(url))


def _input_terms(look: Looking, asked: OfInput) -> Iterator[ColumnElement[bool]]:
    kinds = [inputs.c.kind.in_(asked.kinds)] if asked.kinds else []
    codes = [inputs.c.status_code.in_(asked.status_codes)] if asked.status_codes else []
    if kinds or codes:
        yield or_(*kinds, *codes)
    if asked.dataset_ids:
        yield inputs.c.key.in_(_members(look, asked.dataset_ids))
    if asked.id:
        yield inputs.c.id == asked.id
    if asked.url:
        yield _has_url(asked.url)
    if asked.labels is not None:
        yield inputs.c.key.in_(look.labelled(asked.labels, "input_key"))
    if asked.metadata is not None:
        yield look.holds_any(inputs.c.key, OF_INPUT, asked.metadata)
    if asked.place is not None:
        yield inputs.c.key.in_(look.at(asked.place, "input_key"))


def _members(look: Looking, dataset_ids: tuple[str, ...]) -> Select[Any]:
    chosen = select(datasets.c.key).where(datasets.c.app_key == look.app, datasets.c.id.in_(dataset_ids))
    return select(dataset_inputs.c.input_key).where(dataset_inputs.c.dataset_key.in_(chosen))


# -- of annotations ----------------------------------------------------------------------------------------------------


def _of_annotations(look: Looking, condition: Condition) -> ColumnElement[bool]:
    """What a condition asks of a row of `input_annotations`."""
    parts: Terms = []
    if condition.annotation is not None:
        parts += _row_terms(look, condition.annotation)
        parts += [or_(fact.of_row, fact.of_input(_NOTES.input_key)) for fact in _shared(look, condition.annotation)]
        parts += _in_inputs(look, _named_input(condition.annotation))
    return _signed(condition, [*parts, *_in_inputs(look, _input_part(look, condition))])


def _in_inputs(look: Looking, terms: Terms) -> Terms:
    if not terms:
        return []
    return [_NOTES.input_key.in_(select(inputs.c.key).where(inputs.c.app_key == look.app, *terms))]


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """A fact that an annotation has, or its whole input has for it."""

    of_row: ColumnElement[bool]
    of_input: Callable[[Column], ColumnElement[bool]]


def _shared(look: Looking, asked: OfAnnotation) -> Iterator[_Shared]:
    metadata, place = asked.metadata, asked.place
    if metadata is not None:
        yield _Shared(
            of_row=look.holds_any(_NOTES.key, OF_ANNOTATION, metadata),
            of_input=lambda column: look.holds_any(column, OF_INPUT, metadata),
        )
    if place is not None:
        yield _Shared(
            of_row=_NOTES.key.in_(look.at(place, "annotation_key")),
            of_input=lambda column: column.in_(look.at(place, "input_key")),
        )


def _row_terms(look: Looking, asked: OfAnnotation) -> Iterator[ColumnElement[bool]]:
    """What is asked of the annotation's own row and facts."""
    if asked.labels is not None:
        yield _NOTES.key.in_(look.labelled(asked.labels, "annotation_key"))
    if asked.info is not None:
        yield look.holds(_NOTES.key, INFO, asked.info)
    if asked.track_id:
        yield _NOTES.key.in_(look.named("tracks", asked.track_id))
    if asked.cluster_id:
        yield _NOTES.key.in_(look.named("clusters", asked.cluster_id))
    if asked.workflow_version_id:
        yield _NOTES.key.in_(look.named("workflow", asked.workflow_version_id))
    for name in ("id", "user_id", "task_id", "status_code"):
        if getattr(asked, name):
            yield _NOTES[name] == getattr(asked, name)
    if asked.model_version_id is not None:
        yield _NOTES.model_version_id == asked.model_version_id
    if asked.has:
        yield _NOTES.traits.bitwise_and(int(asked.has)) == int(asked.has)
    if asked.has_not:
        yield _NOTES.traits.bitwise_and(int(asked.has_not)) == 0
    yield from _between(_NOTES.modified_at, asked)


def _between(column: Column, asked: OfAnnotation) -> Terms:
    since = [] if asked.since is None else [column >= asked.since]
    return since + ([] if asked.until is None else [column <= asked.until])
