"""How far an app's index is, as clients see it: counts, and inputs by the state of their vectors."""

from __future__ import annotations

from sqlalchemy import Connection

from lehr.jobs.queue import Queue
from lehr.jobs.queue import State as JobState
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.statuses import status
from lehr.services.embedding import AHEAD
from lehr.services.indexing import subject_of
from lehr.services.paging import Paging
from lehr.store import backlog
from lehr.store import embeddings as rows
from lehr.store import inputs as input_rows
from lehr.store.embeddings import Generation, State

INDEXED = status_code_pb2.INPUT_REINDEX_SUCCESS
WAITING = status_code_pb2.INPUT_REINDEX_PENDING
FAILED = status_code_pb2.INPUT_REINDEX_FAILED
AT_WORK = status_code_pb2.INPUT_REINDEX_IN_PROGRESS
STATES = (INDEXED, WAITING, FAILED, AT_WORK)


def in_question(tx: Connection, ref: AppRef) -> Generation | None:
    """The generation that counts tell of: the one that is being built, else the one that serves."""
    living = rows.living(tx, ref)
    return next((each for each in living if each.state is State.BUILDING), living[0] if living else None)


def count(tx: Connection, queue: Queue, ref: AppRef, counts: resources_pb2.InputCount) -> None:
    """Fills in reindexed, to_reindex, reindexing and reindex_errors; all 0 where nothing is embedded.

    A worker holds some inputs at a time in its hands: so many of those that wait are `reindexing` while one runs.
    """
    generation = in_question(tx, ref)
    if generation is None:
        return
    found = backlog.counts(tx, generation)
    at_work = min(found.waiting, AHEAD) if _is_running(tx, queue, ref) else 0
    counts.reindexing, counts.to_reindex = at_work, found.waiting - at_work
    counts.reindex_errors = found.failed
    counts.reindexed = max(0, counts.processed - found.waiting - found.failed)


def listed(tx: Connection, queue: Queue, ref: AppRef, code: int, paging: Paging) -> list[resources_pb2.Input]:
    """A page of the inputs whose vectors are in this state, which they carry as their status; oldest first."""
    generation = in_question(tx, ref)
    if generation is None or (code == AT_WORK and not _is_running(tx, queue, ref)):
        return []
    if code == INDEXED:
        reasons = dict.fromkeys(backlog.indexed(tx, generation.key, page=paging.page, per_page=paging.per_page), "")
    else:
        which = {WAITING: False, AT_WORK: False, FAILED: True}[code]
        reasons = backlog.in_state(tx, generation.key, failed=which, page=paging.page, per_page=paging.per_page)
    ids = input_rows.ids_of(tx, reasons)
    messages = input_rows.get_many(tx, ref, ids.values())
    found = [(messages[ids[key]], reason) for key, reason in reasons.items() if ids.get(key) in messages]
    for message, reason in found:
        message.status.CopyFrom(status(code, reason))
    return [message for message, _ in found][: AHEAD if code == AT_WORK else None]


def _is_running(tx: Connection, queue: Queue, ref: AppRef) -> bool:
    return any(view.state is JobState.RUNNING for view in queue.of_subject(tx, subject_of(ref)))
