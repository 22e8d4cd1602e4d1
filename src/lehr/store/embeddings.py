"""Embeddings: generations of an app's vectors, the vectors, and the backlog of what waits to be embedded.

A generation's vectors are numbered without gaps in the order in which they are committed, so that whoever has read up
to one number has missed nothing before it. What is deleted leaves a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select, update

from lehr.protocol.ids import AppRef, new_id
from lehr.store.clock import now_ms
from lehr.store.rows import app_key, app_key_of
from lehr.store.tables import backlog, embeddings, generations
from lehr.store.versions import ModelVersionRef

__all__ = [
    "Generation",
    "State",
    "Vector",
    "Vectors",
    "add",
    "alive",
    "append",
    "built_on",
    "clear_dropped",
    "complete",
    "count",
    "get",
    "living",
    "lock",
    "of_app",
    "read",
    "serving",
    "set_recall",
    "set_report",
    "set_state",
    "standing",
    "vectors_of",
]


class State(IntEnum):
    """Where a generation stands. The numbers are stored."""

    BUILDING = 1
    SERVING = 2
    KEPT = 3
    DROPPED = 4


LIVE = (State.BUILDING, State.SERVING)
"""New inputs are embedded for these."""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One build of an app's index, by one embedder. `last_seq` is the number of its newest vector."""

    key: int
    uid: str
    number: int
    embedder: ModelVersionRef
    workflow: bytes
    dimensions: int
    state: State
    last_seq: int
    filled_to: int
    is_filled: bool
    recall: float | None
    report: str
    created_at: int
    served_at: int | None


@dataclass(frozen=True, kw_only=True)
class Vector:
    """One vector and what it is of: an input, a region of it, or the frame at a time."""

    input_key: int
    values: np.ndarray
    annotation_key: int | None = None
    frame_ms: int | None = None


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """Many vectors, column by column; 0 stands for no annotation, -1 for no frame."""

    seqs: np.ndarray
    input_keys: np.ndarray
    annotation_keys: np.ndarray
    frames_ms: np.ndarray
    values_ND: np.ndarray
    """float16 [N, D]."""

    def __len__(self) -> int:
        return len(self.seqs)


def add(
    tx: Connection, ref: AppRef, embedder: ModelVersionRef, *, workflow: bytes, state: State = State.BUILDING
) -> Generation:
    """The app's next generation, empty. Raises NotFound without the app."""
    of_app_key = app_key_of(tx, ref)
    last = tx.execute(select(func.max(generations.c.number)).where(generations.c.app_key == of_app_key)).scalar()
    values = {
        "app_key": of_app_key,
        "uid": new_id(),
        "number": (last or 0) + 1,
        "embedder": str(embedder),
        "workflow": workflow,
        "dimensions": 0,
        "state": state,
        "last_seq": 0,
        "filled_to": 0,
        "is_filled": 0,
        "report": "",
        "created_at": now_ms(),
        "served_at": now_ms() if state is State.SERVING else None,
    }
    row = tx.execute(insert(generations).values(**values).returning(*generations.c)).one()
    return _generation(row)


def get(tx: Connection, key: int) -> Generation | None:
    """The generation of this key."""
    row = tx.execute(select(generations).where(generations.c.key == key)).first()
    return None if row is None else _generation(row)


def lock(tx: Connection, key: int) -> Generation | None:
    """As `get`; other writers of the generation wait until this transaction ends."""
    row = tx.execute(select(generations).where(generations.c.key == key).with_for_update()).first()
    return None if row is None else _generation(row)


def of_app(tx: Connection, ref: AppRef) -> list[Generation]:
    """All of the app's generations, newest first."""
    query = select(generations).where(generations.c.app_key == app_key(ref)).order_by(generations.c.number.desc())
    return [_generation(row) for row in tx.execute(query)]


def _in_state(ref: AppRef, *states: State) -> ColumnElement[bool]:
    return (generations.c.app_key == app_key(ref)) & generations.c.state.in_(states)


def serving(tx: Connection, ref: AppRef) -> Generation | None:
    """The generation that answers searches; None before the first."""
    row = tx.execute(select(generations).where(_in_state(ref, State.SERVING))).first()
    return None if row is None else _generation(row)


def standing(tx: Connection) -> frozenset[str]:
    """Names of all apps' generations that were not dropped."""
    query = select(generations.c.uid).where(generations.c.state != State.DROPPED)
    return frozenset(tx.execute(query).scalars())


def living(tx: Connection, ref: AppRef) -> list[Generation]:
    """Those that new inputs are embedded for, the serving one first."""
    query = select(generations).where(_in_state(ref, *LIVE))
    return [_generation(row) for row in tx.execute(query.order_by(generations.c.state.desc(), generations.c.key))]


def built_on(tx: Connection, prefix: str) -> list[tuple[AppRef, Generation]]:
    """Generations, but for dropped ones, whose embedder's name begins with `prefix` (`user/app/model/`)."""
    from lehr.store.tables import apps

    begins = func.substr(generations.c.embedder, 1, len(prefix)) == prefix
    query = select(generations, apps.c.user_id, apps.c.id.label("app_id")).join(
        apps, apps.c.key == generations.c.app_key
    )
    found = tx.execute(query.where(begins, generations.c.state != State.DROPPED))
    return [(AppRef(row.user_id, row.app_id), _generation(row)) for row in found]


def set_state(tx: Connection, key: int, state: State) -> None:
    """Moves the generation; SERVING notes since when."""
    values: dict[str, Any] = {"state": state}
    if state is State.SERVING:
        values["served_at"] = now_ms()
    tx.execute(update(generations).where(generations.c.key == key).values(**values))


def complete(tx: Connection, key: int, state: State) -> None:
    """Has the app's inputs looked through again for what the generation lacks."""
    again = {"state": state, "filled_to": 0, "is_filled": 0}
    tx.execute(update(generations).where(generations.c.key == key).values(**again))


def clear_dropped(tx: Connection, ref: AppRef, *, limit: int) -> int:
    """Deletes up to `limit` vectors of dropped generations; answers how many went. That they were remains."""
    dropped = select(generations.c.key).where(_in_state(ref, State.DROPPED))
    tx.execute(delete(backlog).where(backlog.c.generation_key.in_(dropped)))
    some = select(embeddings.c.key).where(embeddings.c.generation_key.in_(dropped)).limit(limit)
    return tx.execute(delete(embeddings).where(embeddings.c.key.in_(some))).rowcount


def set_report(tx: Connection, key: int, report: str) -> None:
    """Keeps how the neighbours changed."""
    tx.execute(update(generations).where(generations.c.key == key).values(report=report))


def set_recall(tx: Connection, key: int, recall: float) -> None:
    """Keeps how much the approximate index finds of what the exact one does."""
    tx.execute(update(generations).where(generations.c.key == key).values(recall=recall))


def append(tx: Connection, key: int, vectors: Sequence[Vector]) -> int:
    """Adds vectors at the end; answers the last number. The generation is locked until `tx` ends."""
    generation = lock(tx, key)
    assert generation is not None, f"generation {key} is gone"
    if not vectors:
        return generation.last_seq
    rows = [_row(key, generation.last_seq + place, one) for place, one in enumerate(vectors, start=1)]
    tx.execute(insert(embeddings), rows)
    last = generation.last_seq + len(rows)
    dimensions = len(vectors[0].values)
    assert generation.dimensions in (0, dimensions), f"{dimensions} dimensions, not {generation.dimensions}"
    tx.execute(update(generations).where(generations.c.key == key).values(last_seq=last, dimensions=dimensions))
    return last


def _row(generation_key: int, seq: int, vector: Vector) -> dict[str, Any]:
    return {
        "generation_key": generation_key,
        "seq": seq,
        "input_key": vector.input_key,
        "annotation_key": vector.annotation_key,
        "frame_ms": vector.frame_ms,
        "vector": np.ascontiguousarray(vector.values, dtype="<f2").tobytes(),
    }


def read(tx: Connection, key: int, *, after: int, limit: int) -> Vectors:
    """Up to `limit` vectors with numbers above `after`, in their order."""
    table = embeddings.c
    query = select(table.seq, table.input_key, table.annotation_key, table.frame_ms, table.vector)
    query = query.where(table.generation_key == key, table.seq > after).order_by(table.seq).limit(limit)
    return _vectors(tx.execute(query).all())


def _vectors(rows: Sequence[Any]) -> Vectors:
    size = len(rows[0].vector) // 2 if rows else 0
    values = np.frombuffer(b"".join(row.vector for row in rows), "<f2").reshape(len(rows), size)
    return Vectors(
        seqs=np.array([row.seq for row in rows], np.int64),
        input_keys=np.array([row.input_key for row in rows], np.int64),
        annotation_keys=np.array([row.annotation_key or 0 for row in rows], np.int64),
        frames_ms=np.array([-1 if row.frame_ms is None else row.frame_ms for row in rows], np.int64),
        values_ND=values,
    )


def alive(tx: Connection, key: int, seqs: Iterable[int]) -> set[int]:
    """Which of these vectors are still there."""
    found: set[int] = set()
    for some in _parts(list(seqs)):
        where = (embeddings.c.generation_key == key, embeddings.c.seq.in_(some))
        found.update(tx.execute(select(embeddings.c.seq).where(*where)).scalars())
    return found


def count(tx: Connection, key: int) -> int:
    """How many vectors the generation has."""
    query = select(func.count()).select_from(embeddings).where(embeddings.c.generation_key == key)
    return int(tx.execute(query).scalar_one())


def vectors_of(tx: Connection, key: int, input_keys: Iterable[int]) -> Vectors:
    """Every vector of these inputs: whole pictures, regions, frames."""
    table = embeddings.c
    query = select(table.seq, table.input_key, table.annotation_key, table.frame_ms, table.vector)
    rows: list[Any] = []
    for some in _parts(list(input_keys)):
        rows += tx.execute(query.where(table.generation_key == key, table.input_key.in_(some)).order_by(table.seq))
    return _vectors(rows)


def _parts(values: Sequence[int], size: int = 5000) -> Iterator[Sequence[int]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _generation(row: Row[Any]) -> Generation:
    return Generation(
        key=row.key,
        uid=row.uid,
        number=row.number,
        embedder=ModelVersionRef.parse(row.embedder),
        workflow=row.workflow,
        dimensions=row.dimensions,
        state=State(row.state),
        last_seq=row.last_seq,
        filled_to=row.filled_to,
        is_filled=bool(row.is_filled),
        recall=row.recall,
        report=row.report,
        created_at=row.created_at,
        served_at=row.served_at,
    )
