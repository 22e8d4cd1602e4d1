"""The moment a complete generation takes over: a last look, a report of what changes, and one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection

from lehr.index.exact import Nearest, merged, nearest, nothing
from lehr.jobs.queue import Job, Queue
from lehr.protocol.ids import AppRef
from lehr.services import base_dependents
from lehr.store import backlog
from lehr.store import embeddings as rows
from lehr.store import inputs as input_rows
from lehr.store.db import Database
from lehr.store.embeddings import Generation, State

SAMPLE = 200
"""Inputs whose neighbours are compared."""
COMPARED = 50_000
"""Inputs among which they are looked for."""
NEIGHBOURS = 10
SHOWN = 10
PAGE = 8192


@dataclass(frozen=True, kw_only=True)
class Report:
    """How an app's neighbours change from one generation to the next, on a sample."""

    compared: int
    """Inputs in the sample."""
    among: int
    """Inputs in both generations that were looked at."""
    common: float
    """Mean share of the ten nearest neighbours that stay."""
    changed_most: Sequence[tuple[str, int]]
    """Ids of inputs, with how many of their ten nearest stay, fewest first."""

    def to_json(self, before: Generation, after: Generation) -> str:
        """As it is stored."""
        changed = [{"input_id": input_id, "common_neighbours": number} for input_id, number in self.changed_most]
        told = {"from": str(before.embedder), "to": str(after.embedder), "sample": self.compared, "among": self.among}
        return json.dumps(told | {"common_neighbours": round(self.common, 4), "changed_most": changed})


def switch(db: Database, queue: Queue, job: Job, ref: AppRef, generation: Generation) -> bool:
    """Lets the generation take over if nothing is missing; answers whether it did. Fenced by the job."""
    with db.write() as tx:
        queue.fence(tx, job)
        if not _is_complete(tx, generation):
            return False
    with db.read() as tx:
        before = rows.serving(tx, ref)
        report = "" if before is None else compared(tx, ref, before, generation).to_json(before, generation)
    with db.write() as tx:
        queue.fence(tx, job)
        if not _is_complete(tx, generation):  # something arrived while we compared
            return False
        _take_over(tx, ref, generation, report)
    return True


def _is_complete(tx: Connection, generation: Generation) -> bool:
    present = rows.lock(tx, generation.key)
    if present is None or present.state is not State.BUILDING or not present.is_filled:
        return False
    return not backlog.sweep(tx, present.key) and not backlog.waiting(tx, present.key, after=0, limit=1)


def _take_over(tx: Connection, ref: AppRef, generation: Generation, report: str) -> None:
    """The one before is kept until the next re-index, so that it can be taken back; those before it are dropped."""
    for other in rows.of_app(tx, ref):
        if other.state is State.KEPT:
            rows.set_state(tx, other.key, State.DROPPED)
        elif other.state is State.SERVING:
            rows.set_state(tx, other.key, State.KEPT)
            base_dependents.tell(tx, ref, other.embedder, generation.embedder)
    rows.set_state(tx, generation.key, State.SERVING)
    rows.set_report(tx, generation.key, report)


def compared(tx: Connection, ref: AppRef, before: Generation, after: Generation) -> Report:
    """The ten nearest neighbours of a sample of inputs, in both."""
    one, other = _whole_inputs(tx, before), _whole_inputs(tx, after)
    both = sorted(one.keys() & other.keys())[:COMPARED]
    if len(both) < 2:
        return Report(compared=0, among=len(both), common=1.0, changed_most=())
    places = np.unique(np.linspace(0, len(both) - 1, min(SAMPLE, len(both))).astype(int))
    common = _common(_neighbours(one, both, places), _neighbours(other, both, places))
    most = np.argsort(common, kind="stable")[:SHOWN]
    ids = input_rows.ids_of(tx, [both[places[row]] for row in most])
    changed = [(ids.get(both[places[row]], ""), int(common[row])) for row in most]
    num_neighbours = min(NEIGHBOURS, len(both) - 1)
    return Report(
        compared=len(places),
        among=len(both),
        common=float(common.mean()) / num_neighbours,
        changed_most=[each for each in changed if each[0]],
    )


def _whole_inputs(tx: Connection, generation: Generation) -> Mapping[int, np.ndarray]:
    """Input key → the vector of the whole (of a video: its first frame), of so many as are compared."""
    found: dict[int, np.ndarray] = {}
    after = 0
    while len(found) < COMPARED:
        page = rows.read(tx, generation.key, after=after, limit=PAGE)
        if not len(page):
            break
        after = int(page.seqs[-1])
        for row in np.flatnonzero(page.annotation_keys == 0):
            found.setdefault(int(page.input_keys[row]), page.values_ND[row])
    return found


def _neighbours(vectors: Mapping[int, np.ndarray], keys: Sequence[int], places: np.ndarray) -> np.ndarray:
    """Places of the nearest others of each sampled one, [sample, k]."""
    best: Nearest = nothing(len(places), NEIGHBOURS + 1)
    queries_QD = np.stack([vectors[keys[place]] for place in places]).astype(np.float32)
    for start in range(0, len(keys), PAGE):
        block = np.stack([vectors[key] for key in keys[start : start + PAGE]])
        part = nearest(block, queries_QD, NEIGHBOURS + 1)
        shifted = Nearest(rows_QK=np.where(part.rows_QK < 0, -1, part.rows_QK + start), cosines_QK=part.cosines_QK)
        best = merged(best, shifted, NEIGHBOURS + 1)
    return best.rows_QK


def _common(one_QK: np.ndarray, other_QK: np.ndarray) -> np.ndarray:
    """How many neighbours each sampled input keeps; it itself, its nearest, does not count."""
    pairs: list[Any] = [(set(a[a >= 0]), set(b[b >= 0])) for a, b in zip(one_QK, other_QK, strict=True)]
    return np.array([min(NEIGHBOURS, max(0, len(a & b) - 1)) for a, b in pairs])
