"""Searches: of inputs and of annotations, by filters, by ranks, or both: what passes the filters, the likest first.

Without ranks every hit has the score 1 and the first made comes first. Saved searches are services/saved_searches.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Connection

from lehr.errors import InvalidSearch
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.services.concepts import rename_labels
from lehr.services.filters import Filters
from lehr.services.neighbours import Found, Metric, Neighbours
from lehr.services.paging import Paging
from lehr.services.ranks import Ranking, Ranks, legacy_ranks
from lehr.services.regions import labels_in
from lehr.services.search_room import SearchRoom
from lehr.store import finding
from lehr.store import inputs as input_rows
from lehr.store.conditions import Asked
from lehr.store.db import Database
from lehr.store.facts import Trait
from lehr.store.searches import Kind

ALGORITHMS = ("nearest_neighbor", "brute_force", "avg_concept_brute_force")
METRICS: dict[int, Metric] = {0: "euclidean", 1: "euclidean", 2: "cosine"}
"""Number of a `Search.Metric` → what it is called inside. The order of hits, and their scores, are the same by both."""

FAR = 10_000
"""Hits: a page that is farther behind is held against how many there can be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a hit is: an input, and an annotation or a frame of it."""

    input_key: int
    annotation_key: int | None = None
    frame_ms: int | None = None
    score: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Searches:
    """Needs the store, and what ranks."""

    db: Database
    neighbours: Neighbours
    ranks: Ranks
    room: SearchRoom = field(default_factory=SearchRoom)

    def run(self, ref: AppRef, search: resources_pb2.Search, paging: Paging, kind: Kind) -> list[resources_pb2.Hit]:
        """A page of hits. Raises InvalidSearch, NotFound without the app, and Busy while others rank too much."""
        ranking = self._ranking(ref, search)
        start = (paging.page - 1) * paging.per_page
        with self.db.read() as tx:
            asked = Filters(tx=tx, ref=ref).asked(search)
            if ranking is None:
                return list(_hits(tx, ref, _unranked(tx, ref, asked, paging, kind), kind))
            chosen = _Chosen.of(tx, ref, asked, kind)
            reach = start + paging.per_page
            if reach > FAR:  # counting takes as long as an ordinary search
                reach = min(reach, chosen.most(tx, ref))
        with self.room.taken(reach):
            places = chosen.ranked(ref, self.neighbours, METRICS[search.metric], reach, ranking)
            page = [place for place in places if place.score >= search.min_value][start:]
        with self.db.read() as tx:
            return list(_hits(tx, ref, page, kind))

    def count(self, ref: AppRef, search: resources_pb2.Search, kind: Kind) -> int:
        """How many hits the search has on all pages together."""
        ranking = self._ranking(ref, search)
        with self.db.read() as tx:
            asked = Filters(tx=tx, ref=ref).asked(search)
            if ranking is None:
                find = finding.inputs_found if kind == "inputs" else finding.annotations_found
                return finding.count(tx, find(tx, ref, asked))
            chosen = _Chosen.of(tx, ref, asked, kind)
            reach = chosen.most(tx, ref)
        with self.room.taken(reach):
            places = chosen.ranked(ref, self.neighbours, METRICS[search.metric], reach, ranking)
            return sum(place.score >= search.min_value for place in places)

    def _ranking(self, ref: AppRef, search: resources_pb2.Search) -> Ranking | None:
        check_search(search)
        return self.ranks.read(ref, [*search.query.ranks, *legacy_ranks(search.query.ands)])


def check_search(search: resources_pb2.Search) -> None:
    """Raises InvalidSearch for what is wrong beside filters and ranks."""
    if search.algorithm and search.algorithm not in ALGORITHMS:
        raise InvalidSearch(f"algorithm is {search.algorithm!r}; there are: {', '.join(ALGORITHMS)}.")
    if search.metric not in METRICS:
        raise InvalidSearch(f"metric is {search.metric}; there are EUCLIDEAN_DISTANCE (1) and COSINE_DISTANCE (2).")
    if not 0 <= search.min_value <= 1:
        raise InvalidSearch(f"min_value is {search.min_value:g}; scores run from 0 to 1.")


def _unranked(tx: Connection, ref: AppRef, asked: Asked, paging: Paging, kind: Kind) -> list[Place]:
    if kind == "inputs":
        found = finding.inputs_found(tx, ref, asked)
        inputs = finding.page_inputs(tx, found, page=paging.page, per_page=paging.per_page)
        return [Place(input_key=each.key) for each in inputs]
    found = finding.annotations_found(tx, ref, asked)
    notes = finding.page_annotations(tx, found, page=paging.page, per_page=paging.per_page)
    return [Place(input_key=each.input_key, annotation_key=each.key) for each in notes]


# -- ranked ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """What passed the filters, and so may be ranked."""

    input_keys: Sequence[int] | np.ndarray | None
    """None: every input of the app."""
    part_keys: Sequence[int]
    """Annotations of regions and frames: ranked by how these look."""
    notes_of: dict[int, list[int | None]] | None
    """Input key → annotations of the whole input, which are ranked by how that looks. None: inputs are sought."""
    total: int | None
    """How many; None where it was not needed to know."""

    @classmethod
    def of(cls, tx: Connection, ref: AppRef, asked: Asked, kind: Kind) -> _Chosen:
        """Reads it."""
        if kind == "inputs":
            if asked == Asked():
                return cls(input_keys=None, part_keys=(), notes_of=None, total=None)
            found = tx.execute(finding.inputs_found(tx, ref, asked))
            keys = np.fromiter(found.scalars(), np.int64)  # there may be a million of them
            return cls(input_keys=keys, part_keys=(), notes_of=None, total=len(keys))
        parts: list[int] = []
        notes_of: dict[int, list[int | None]] = {}
        for row in tx.execute(finding.annotations_found(tx, ref, asked)):
            if row.traits & Trait.PART:
                parts.append(row.key)
            else:
                notes_of.setdefault(row.input_key, []).append(row.key)
        for key in tx.execute(finding.silent_inputs_found(tx, ref, asked)).scalars():
            notes_of[key] = [None]
        total = len(parts) + sum(map(len, notes_of.values()))
        return cls(input_keys=list(notes_of), part_keys=parts, notes_of=notes_of, total=total)

    def most(self, tx: Connection, ref: AppRef) -> int:
        """So many hits there are at most."""
        return input_rows.count(tx, ref) if self.total is None else self.total

    def ranked(self, ref: AppRef, neighbours: Neighbours, metric: Metric, reach: int, ranking: Ranking) -> list[Place]:
        """The best, up to `reach` of them, the likest first."""
        found = neighbours.nearest(ref, ranking.vector, among=self.input_keys, k=reach, metric=metric)
        places = [place for one in found for place in self._places(one, ranking)]
        if self.part_keys:
            of_parts = neighbours.nearest(
                ref, ranking.vector, among=self.part_keys, k=reach, metric=metric, of="annotations"
            )
            places += [_place(one, one.annotation_key, ranking) for one in of_parts]
            places.sort(key=lambda place: (-place.score, place.input_key, place.annotation_key or 0))
        return places[:reach]

    def _places(self, one: Found, ranking: Ranking) -> Iterator[Place]:
        for note in (None,) if self.notes_of is None else self.notes_of[one.input_key]:
            yield _place(one, note, ranking)


def _place(one: Found, annotation_key: int | None, ranking: Ranking) -> Place:
    return Place(
        input_key=one.input_key,
        annotation_key=annotation_key,
        frame_ms=one.frame_ms,
        score=ranking.score(one.score),
    )


# -- hits --------------------------------------------------------------------------------------------------------------


def _hits(tx: Connection, ref: AppRef, places: Sequence[Place], kind: Kind) -> Iterator[resources_pb2.Hit]:
    """What is still there of the places, with names of concepts as they are now."""
    inputs = finding.inputs_by_key(tx, {place.input_key for place in places})
    keys = {place.annotation_key for place in places if place.annotation_key is not None}
    notes = {key: found.message for key, found in finding.annotations_by_key(tx, keys).items()}
    _rename(tx, ref, [each.data for each in (*inputs.values(), *notes.values())])
    for place in places:
        is_gone = place.annotation_key is not None and place.annotation_key not in notes
        if place.input_key in inputs and not is_gone:
            note = notes.get(place.annotation_key) if place.annotation_key is not None else None
            yield _hit(ref, place, inputs[place.input_key], note, kind)


def _rename(tx: Connection, ref: AppRef, said: Iterable[resources_pb2.Data]) -> None:
    rename_labels(tx, ref, [label for data in said for label in labels_in(data)])


def _hit(
    ref: AppRef, place: Place, input_: resources_pb2.Input, note: resources_pb2.Annotation | None, kind: Kind
) -> resources_pb2.Hit:
    hit = resources_pb2.Hit(score=place.score, input=input_, user_id=ref.user_id, app_id=ref.app_id)
    if note is not None:
        hit.annotation.CopyFrom(note)
    elif kind == "annotations" or place.frame_ms is not None:
        hit.annotation.input_id, hit.annotation.input_level = input_.id, place.frame_ms is None
    if place.frame_ms is not None and not hit.annotation.data.frames:
        hit.annotation.data.frames.add().frame_info.time = place.frame_ms
    return hit
