"""Single conditions in SQL, by the facts kept beside messages: what is labelled, near a place, or holds an object."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    bindparam,
    cast,
    false,
    func,
    or_,
    select,
)

from lehr.protocol import resources_pb2
from lehr.protocol.structs import Plain, from_struct
from lehr.store import tables
from lehr.store.conditions import Box, Labels, Place, Within
from lehr.store.containment import contains, is_told_by_terms, terms_wanted
from lehr.store.facts import TOO_MANY, hashed, on_sphere

__all__ = ["Holding", "Looking", "among"]

Fields = Mapping[str, Plain]
_BATCH = 500


def among(tx: Connection, column: ColumnElement[Any], keys: Iterable[int]) -> ColumnElement[bool]:
    """Whether the column is one of these keys, however many: they are one parameter."""
    if tx.dialect.name == "postgresql":
        listed = bindparam(None, list(keys), type_=ARRAY(BigInteger), unique=True)
        return column.in_(select(func.unnest(cast(listed, ARRAY(BigInteger))).column_valued()))
    listed = bindparam(None, json.dumps(list(keys)), unique=True)
    return column.in_(select(func.json_each(listed).table_valued("value").c.value))


@dataclass(frozen=True, kw_only=True)
class Holding:
    """Where free-form objects of one kind are: in which messages, and in which terms."""

    rows: Table
    terms: Table
    key: str
    """The terms' column with the rows' keys."""
    scope: str
    read: Callable[[bytes], Fields]
    """The object in a row's message."""


def _metadata(data: bytes) -> Fields:
    message = resources_pb2.Input()
    message.MergeFromString(data)
    return from_struct(message.data.metadata)


def _annotation(data: bytes) -> resources_pb2.Annotation:
    message = resources_pb2.Annotation()
    message.MergeFromString(data)
    return message


OF_INPUT = Holding(rows=tables.inputs, terms=tables.input_terms, key="input_key", scope="data", read=_metadata)
OF_ANNOTATION = Holding(
    rows=tables.input_annotations,
    terms=tables.annotation_terms,
    key="annotation_key",
    scope="data",
    read=lambda data: from_struct(_annotation(data).data.metadata),
)
INFO = Holding(
    rows=tables.input_annotations,
    terms=tables.annotation_terms,
    key="annotation_key",
    scope="info",
    read=lambda data: from_struct(_annotation(data).annotation_info),
)


@dataclass(frozen=True, kw_only=True)
class Looking:
    """Conditions on the rows of one app."""

    tx: Connection
    app: int
    """The app's key."""

    def labelled(self, labels: Labels, column: str) -> Select[Any]:
        """`annotation_key` or `input_key` of what carries one of the labels."""
        table = tables.annotation_concepts.c
        groups = [
            and_(table.is_positive.is_(is_positive), table.concept_id.in_(ids))
            for is_positive in (True, False)
            if (ids := [concept_id for concept_id, sign in labels if sign is is_positive])
        ]
        return select(table[column]).where(table.app_key == self.app, or_(false(), *groups))

    def at(self, place: Place, column: str) -> Select[Any]:
        """`input_key` of inputs that are at the place themselves, or `annotation_key` of annotations that are."""
        table = tables.geo_points.c
        is_own = table.annotation_key.is_(None) if column == "input_key" else table.annotation_key.is_not(None)
        where = _in_box(place) if isinstance(place, Box) else _within(place)
        return select(table[column]).where(table.app_key == self.app, is_own, *where)

    def named(self, scope: str, name: str) -> Select[Any]:
        """`annotation_key` of annotations that name this track or workflow version."""
        table = tables.annotation_terms.c
        [term] = terms_wanted({name: None})
        return select(table.annotation_key).where(table.term == hashed(self.app, scope, term))

    def holds_any(self, column: ColumnElement[Any], where: Holding, wanted: Fields) -> ColumnElement[bool]:
        """Whether the row of this key holds one of the fields."""
        return or_(false(), *(self.holds(column, where, {name: value}) for name, value in wanted.items()))

    def holds(self, column: ColumnElement[Any], where: Holding, wanted: Fields) -> ColumnElement[bool]:
        """Whether the row of this key holds all of the fields."""
        has = self._has_terms(column, where, wanted)
        doubtful = self._doubtful(where, wanted)
        found = list(self._read(where, doubtful, wanted))
        sure = [has] if is_told_by_terms(wanted) else []
        return or_(false(), *sure, *([among(self.tx, column, found)] if found else []))

    def _has_terms(self, column: ColumnElement[Any], where: Holding, wanted: Fields) -> ColumnElement[bool]:
        terms = where.terms.c
        numbers = sorted(hashed(self.app, where.scope, term) for term in terms_wanted(wanted))
        return and_(*(column.in_(select(terms[where.key]).where(terms.term == number)) for number in numbers))

    def _doubtful(self, where: Holding, wanted: Fields) -> list[int]:
        """Keys of the rows that must be read to know: with too many terms, or where terms do not tell all."""
        terms = where.terms.c
        unknown = terms.term == hashed(self.app, where.scope, TOO_MANY)
        keys = list(self.tx.execute(select(terms[where.key]).where(unknown)).scalars())
        if not is_told_by_terms(wanted):
            rows = where.rows.c
            query = select(rows.key).where(rows.app_key == self.app, self._has_terms(rows.key, where, wanted))
            keys += self.tx.execute(query).scalars()
        return keys

    def _read(self, where: Holding, keys: Sequence[int], wanted: Fields) -> Iterator[int]:
        rows = where.rows.c
        for start in range(0, len(keys), _BATCH):
            query = select(rows.key, rows.message).where(rows.key.in_(keys[start : start + _BATCH]))
            for row in self.tx.execute(query):
                if contains(where.read(row.message), wanted):
                    yield row.key


def _in_box(box: Box) -> list[ColumnElement[bool]]:
    table = tables.geo_points.c
    return [table.latitude.between(box.south, box.north), table.longitude.between(box.west, box.east)]


def _within(place: Within) -> list[ColumnElement[bool]]:
    """By the straight line through the sphere; the latitudes are there for the index."""
    table = tables.geo_points.c
    degrees = math.degrees(place.radians) + 1e-6
    x, y, z = on_sphere(place.latitude, place.longitude)
    squares = [(column - value) * (column - value) for column, value in ((table.x, x), (table.y, y), (table.z, z))]
    chord = 2 * math.sin(min(place.radians, math.pi) / 2)
    return [
        table.latitude.between(place.latitude - degrees, place.latitude + degrees),
        squares[0] + squares[1] + squares[2] <= chord * chord * (1 + 1e-12),
    ]
