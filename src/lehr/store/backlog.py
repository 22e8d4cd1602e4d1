"""What waits to be embedded, generation by generation: written in the transaction that makes the work.

A row asks for a whole input with all its regions, or for one annotation of it. Rows of a generation that was put aside
wait until it is taken back. What could not be embedded stays, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, exists, func, insert, literal, select, update

from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.store import embeddings as rows
from lehr.store.embeddings import LIVE, Generation, State, Vector
from lehr.store.rows import app_key, paged
from lehr.store.tables import apps, backlog, embeddings, generations, input_annotations, inputs

__all__ = [
    "Counts",
    "Settled",
    "Subject",
    "Waiting",
    "counts",
    "expect_inputs",
    "fill",
    "give_up",
    "in_state",
    "indexed",
    "note_annotations",
    "settle",
    "subjects",
    "sweep",
    "try_again",
    "waiting",
    "with_work",
]

_WAITS = backlog.c.error.is_(None)
_STANDING = (State.BUILDING, State.SERVING, State.KEPT)
READY = status_code_pb2.INPUT_DOWNLOAD_SUCCESS


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """One row: an input as a whole, or one annotation of it."""

    key: int
    input_key: int
    annotation_key: int | None


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a row is about, as it is stored now."""

    row: Waiting
    message: resources_pb2.Input
    content_sha: str
    annotations: Sequence[tuple[int, resources_pb2.Annotation]]
    """Those that speak of parts of it, with their keys; of a row that asks for one annotation, that one."""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What became of one row: its vectors, or why there are none."""

    row: Waiting
    vectors: Sequence[Vector] = ()
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Inputs of a generation: waiting to be embedded, and failed."""

    waiting: int
    failed: int


class Noted(Protocol):
    """A stored annotation with its keys."""

    @property
    def key(self) -> int:
        """Its own."""

    @property
    def input_key(self) -> int:
        """Of what it is about."""

    @property
    def message(self) -> resources_pb2.Annotation:
        """What it says."""


def expect_inputs(tx: Connection, ref: AppRef, input_ids: Iterable[str]) -> None:
    """These inputs are ready: each generation of the app that still stands is to have their vectors."""
    for generation_key in _standing(tx, generations.c.app_key == app_key(ref)):
        chosen = (inputs.c.app_key == app_key(ref), inputs.c.id.in_(list(input_ids)))
        _put(tx, select(literal(generation_key), inputs.c.key).where(*chosen))


def _standing(tx: Connection, of_app: ColumnElement[bool]) -> list[int]:
    query = select(generations.c.key).where(of_app, generations.c.state.in_(_STANDING))
    return list(tx.execute(query).scalars())


def _put(tx: Connection, chosen: Select[Any]) -> int:
    statement = insert(backlog).from_select(["generation_key", "input_key"], chosen)
    return tx.execute(statement, execution_options={"preserve_rowcount": True}).rowcount


def note_annotations(tx: Connection, of_app_key: int, noted: Sequence[Noted]) -> None:
    """Annotations were written: their regions are to be embedded anew, and those without any have no vector."""
    standing = _standing(tx, generations.c.app_key == of_app_key)
    if not standing or not noted:
        return
    without = [each.key for each in noted if not has_regions(each.message)]
    if without:
        tx.execute(delete(embeddings).where(embeddings.c.annotation_key.in_(without)))
    expected = [
        {"generation_key": generation_key, "input_key": each.input_key, "annotation_key": each.key}
        for generation_key in standing
        for each in noted
        if has_regions(each.message)
    ]
    if expected:
        tx.execute(insert(backlog), expected)


def has_regions(message: resources_pb2.Annotation) -> bool:
    """Whether it speaks of parts of a picture, or of a frame."""
    return bool(message.data.regions) or any(frame.data.regions for frame in message.data.frames)


def with_work(tx: Connection, *, of: AppRef | None = None) -> list[AppRef]:
    """Apps with a live generation that is not complete (something waits, or could take over), or with dropped vectors.

    `of`: that app, or none.
    """
    waits = exists().where(backlog.c.generation_key == generations.c.key, _WAITS)
    stale = exists().where(embeddings.c.generation_key == generations.c.key)
    undone = waits | (generations.c.is_filled == 0) | (generations.c.state == State.BUILDING)
    query = select(apps.c.user_id, apps.c.id).join(generations, generations.c.app_key == apps.c.key)
    is_live, is_dropped = generations.c.state.in_(LIVE), generations.c.state == State.DROPPED
    query = query.where((is_live & undone) | (is_dropped & stale)).distinct()
    if of is not None:
        query = query.where(apps.c.user_id == of.user_id, apps.c.id == of.app_id)
    return [AppRef(row.user_id, row.id) for row in tx.execute(query)]


def fill(tx: Connection, generation: Generation, *, limit: int) -> bool:
    """Puts the next of the app's inputs into the backlog; False once all are. Those that have a vector are left out."""
    present = rows.lock(tx, generation.key)
    if present is None or present.is_filled:
        return False
    last = _last_of_next(tx, present, limit)
    if last is None:
        tx.execute(update(generations).where(generations.c.key == present.key).values(is_filled=1))
        return False
    between = and_(inputs.c.key > present.filled_to, inputs.c.key <= last)
    _put(tx, _without_vectors(present.key).where(between))
    tx.execute(update(generations).where(generations.c.key == present.key).values(filled_to=last))
    return True


def _last_of_next(tx: Connection, generation: Generation, limit: int) -> int | None:
    of_app = inputs.c.app_key == _app_of(generation.key)
    some = select(inputs.c.key).where(of_app, inputs.c.key > generation.filled_to).order_by(inputs.c.key).limit(limit)
    last = tx.execute(select(func.max(some.subquery().c.key))).scalar()
    return None if last is None else int(last)


def _app_of(generation_key: int) -> Any:
    return select(generations.c.app_key).where(generations.c.key == generation_key).scalar_subquery()


def _without_vectors(generation_key: int) -> Select[Any]:
    """Ready inputs of the generation's app that it neither has nor expects."""
    has = exists().where(embeddings.c.generation_key == generation_key, embeddings.c.input_key == inputs.c.key)
    expects = exists().where(
        backlog.c.generation_key == generation_key,
        backlog.c.input_key == inputs.c.key,
        backlog.c.annotation_key.is_(None),
    )
    query = select(literal(generation_key), inputs.c.key)
    return query.where(inputs.c.app_key == _app_of(generation_key), inputs.c.status_code == READY, ~has, ~expects)


def sweep(tx: Connection, generation_key: int) -> int:
    """Expects what slipped through: inputs that became ready while the generation was begun. Walks the whole app.

    Inputs that cannot be embedded (texts) are among them each time; they are settled again as quickly.
    """
    return _put(tx, _without_vectors(generation_key).where(_can_be_seen()))


def _can_be_seen() -> ColumnElement[bool]:
    return inputs.c.thumbnail_sha != ""


def waiting(tx: Connection, generation_key: int, *, after: int, limit: int) -> list[Waiting]:
    """Up to `limit` rows with keys above `after`, oldest first."""
    where = (backlog.c.generation_key == generation_key, backlog.c.key > after, _WAITS)
    found = tx.execute(select(backlog).where(*where).order_by(backlog.c.key).limit(limit))
    return [Waiting(key=row.key, input_key=row.input_key, annotation_key=row.annotation_key) for row in found]


def subjects(tx: Connection, asked: Sequence[Waiting]) -> list[Subject]:
    """What these rows are about, in their order; those of deleted inputs are left out."""
    keys = {row.input_key for row in asked}
    query = select(inputs.c.key, inputs.c.message, inputs.c.content_sha)
    found = {row.key: row for row in tx.execute(query.where(inputs.c.key.in_(keys)))}
    notes = _notes(tx, keys)
    return [
        Subject(
            row=row,
            message=resources_pb2.Input.FromString(found[row.input_key].message),
            content_sha=found[row.input_key].content_sha,
            annotations=[each for each in notes.get(row.input_key, []) if row.annotation_key in (None, each[0])],
        )
        for row in asked
        if row.input_key in found
    ]


def _notes(tx: Connection, input_keys: Iterable[int]) -> dict[int, list[tuple[int, resources_pb2.Annotation]]]:
    table = input_annotations.c
    query = select(table.key, table.input_key, table.message).where(table.input_key.in_(list(input_keys)))
    notes: dict[int, list[tuple[int, resources_pb2.Annotation]]] = {}
    for row in tx.execute(query.order_by(table.key)):
        message = resources_pb2.Annotation.FromString(row.message)
        if has_regions(message):
            notes.setdefault(row.input_key, []).append((row.key, message))
    return notes


def settle(tx: Connection, generation_key: int, settled: Sequence[Settled]) -> int:
    """Writes the vectors in place of earlier ones, and takes the rows away; answers how many rows there still were.

    What was deleted meanwhile stays away, and a row that another worker settled is passed over.
    """
    generation = rows.lock(tx, generation_key)
    if generation is None or generation.state is State.DROPPED:
        return 0
    gone = delete(backlog).where(backlog.c.key.in_([each.row.key for each in settled if not each.error]))
    present = set(tx.execute(gone.returning(backlog.c.key)).scalars())
    for each in settled:
        if each.error:
            tx.execute(update(backlog).where(backlog.c.key == each.row.key).values(error=each.error))
    done = [each for each in settled if each.row.key in present]
    _clear_replaced(tx, generation_key, [each.row for each in done])
    rows.append(tx, generation_key, _of_living(tx, [one for each in done for one in each.vectors]))
    return len(present)


def _clear_replaced(tx: Connection, generation_key: int, asked: Sequence[Waiting]) -> None:
    """Deletes the vectors of these inputs, all of them, and of these annotations."""
    table = embeddings.c
    whole = {row.input_key for row in asked if row.annotation_key is None}
    parts = [row for row in asked if row.annotation_key is not None]
    if whole:
        tx.execute(delete(embeddings).where(table.generation_key == generation_key, table.input_key.in_(whole)))
    if parts:
        of_notes = table.annotation_key.in_({row.annotation_key for row in parts})
        of_inputs = table.input_key.in_({row.input_key for row in parts})  # there is an index of these
        tx.execute(delete(embeddings).where(table.generation_key == generation_key, of_inputs, of_notes))


def _of_living(tx: Connection, vectors: Sequence[Vector]) -> list[Vector]:
    """Those whose input and annotation are still there, held so that they stay until `tx` ends."""
    owners = {one.input_key for one in vectors}
    notes = {one.annotation_key for one in vectors if one.annotation_key is not None}
    there = set(tx.execute(_held(inputs.c.key).where(inputs.c.key.in_(owners))).scalars())
    noted = set(tx.execute(_held(input_annotations.c.key).where(input_annotations.c.key.in_(notes))).scalars())
    return [one for one in vectors if one.input_key in there and one.annotation_key in {None, *noted}]


def _held(column: Any) -> Select[Any]:
    return select(column).with_for_update(read=True, key_share=True)


def give_up(tx: Connection, generation_key: int, reason: str) -> int:
    """Everything that waits fails with this reason; answers how much."""
    where = (backlog.c.generation_key == generation_key, _WAITS)
    return tx.execute(update(backlog).where(*where).values(error=reason)).rowcount


def try_again(tx: Connection, generation_key: int) -> int:
    """What failed waits once more; answers how much that is."""
    where = (backlog.c.generation_key == generation_key, backlog.c.error.is_not(None))
    return tx.execute(update(backlog).where(*where).values(error=None)).rowcount


def counts(tx: Connection, generation: Generation) -> Counts:
    """Inputs that wait for this generation (those not in the backlog yet included), and those that failed."""
    has_failed = backlog.c.error.is_not(None)
    number = func.count(backlog.c.input_key.distinct())
    query = select(has_failed.label("failed"), number).where(backlog.c.generation_key == generation.key)
    found = {bool(failed): int(many) for failed, many in tx.execute(query.group_by(has_failed))}
    unfilled = 0 if generation.is_filled else _num_unfilled(tx, generation)
    return Counts(waiting=found.get(False, 0) + unfilled, failed=found.get(True, 0))


def _num_unfilled(tx: Connection, generation: Generation) -> int:
    later = _without_vectors(generation.key).where(inputs.c.key > generation.filled_to)
    return int(tx.execute(select(func.count()).select_from(later.subquery())).scalar_one())


def in_state(tx: Connection, generation_key: int, *, failed: bool, page: int, per_page: int) -> dict[int, str]:
    """Keys of the inputs that wait, or that failed with the reason, in their order."""
    which = _WAITS if not failed else backlog.c.error.is_not(None)
    query = select(backlog.c.input_key, func.max(backlog.c.error).label("error"))
    query = query.where(backlog.c.generation_key == generation_key, which).group_by(backlog.c.input_key)
    found = tx.execute(paged(query.order_by(backlog.c.input_key), page, per_page))
    return {int(row.input_key): row.error or "" for row in found}


def indexed(tx: Connection, generation_key: int, *, page: int, per_page: int) -> list[int]:
    """Keys of the inputs that have their vectors and wait for no others, in their order."""
    table = embeddings.c
    expects = exists().where(backlog.c.generation_key == generation_key, backlog.c.input_key == table.input_key)
    query = select(table.input_key).where(table.generation_key == generation_key, ~expects).distinct()
    return list(tx.execute(paged(query.order_by(table.input_key), page, per_page)).scalars())
