"""The logs of trainings as entries: a page of them, or one after another as they come."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from lehr.errors import Busy, InvalidRequest
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.services.models import found_version
from lehr.services.paging import Paging
from lehr.store import logs as rows
from lehr.store import training_points as point_rows
from lehr.store.db import Database
from lehr.store.versions import MOVES, ModelVersionRef, State, state_of

TRAINING = "training"
NAMES = ("", TRAINING, "train", "model.training")
"""What clients may call the log of a training. Other logs (builder, runner, …) are of things that Lehr has not."""
CURVES = "training.curves"
"""The points of a training's curves, one JSON object an entry: see learn/curves.py. Listed only, not followed."""
PAUSE_SECONDS = 0.5
SIGN_OF_LIFE_SECONDS = 10.0
"""Without a line for so long an empty answer is sent: whether anyone still listens is seen only then."""
LONGEST_SECONDS = 3600.0
MOST_LISTENERS = 8
"""Each holds one of the server's threads."""
LINES_AT_ONCE = 200


@dataclass(frozen=True, kw_only=True)
class LogEntries:
    """Needs only the store."""

    db: Database
    _places: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(MOST_LISTENERS))

    def list_of(
        self, ref: AppRef, model_id: str, version_id: str, log_type: str, paging: Paging
    ) -> list[resources_pb2.LogEntry]:
        """A page of the lines of a training, or of its curves, oldest first; none of any other log.

        Raises ModelNotFound.
        """
        vref = self._named(ref, model_id, version_id)
        if log_type == CURVES:
            return self._points(vref, paging)
        if log_type not in NAMES:
            return []
        with self.db.read() as tx:
            found = rows.page(tx, vref, page=paging.page, per_page=paging.per_page)
        return [_entry(line) for line in found]

    def _points(self, vref: ModelVersionRef, paging: Paging) -> list[resources_pb2.LogEntry]:
        with self.db.read() as tx:
            found = point_rows.page(tx, vref, page=paging.page, per_page=paging.per_page)
        return [resources_pb2.LogEntry(message=point, log_type=CURVES) for point in found]

    def follow(
        self, ref: AppRef, model_id: str, version_id: str, log_type: str
    ) -> Iterator[list[resources_pb2.LogEntry]]:
        """The lines so far, then those that come, until the training is over; lists may be empty.

        Raises ModelNotFound, InvalidRequest for another log, Busy when too many listen.
        """
        vref = self._named(ref, model_id, version_id)
        if log_type not in NAMES:
            raise InvalidRequest(f"There is no log {log_type!r} to follow; there is: {TRAINING}.")
        if not self._places.acquire(blocking=False):
            raise Busy(f"{MOST_LISTENERS} logs are being followed already: read this one with ListLogEntries.")
        try:
            yield from self._lines(vref)
        finally:
            self._places.release()

    def _lines(self, vref: ModelVersionRef) -> Iterator[list[resources_pb2.LogEntry]]:
        after, began, told_at = 0, time.monotonic(), time.monotonic()
        while time.monotonic() - began < LONGEST_SECONDS:
            with self.db.read() as tx:  # the state first: lines that came before the end are read after it
                is_over = _is_over(found_version(tx, vref.app, vref.model_id, vref.version_id))
                lines = rows.read(tx, vref, after=after, limit=LINES_AT_ONCE)
            if lines or time.monotonic() - told_at > SIGN_OF_LIFE_SECONDS:
                told_at = time.monotonic()
                yield [_entry(line) for line in lines]
            if lines:
                after = lines[-1].seq
            elif is_over:
                return
            else:
                time.sleep(PAUSE_SECONDS)

    def _named(self, ref: AppRef, model_id: str, version_id: str) -> ModelVersionRef:
        if not model_id or not version_id:
            raise InvalidRequest("A log is that of a model version: name model_id and model_version_id.")
        with self.db.read() as tx:
            found_version(tx, ref, model_id, version_id)
        return ModelVersionRef(ref, model_id, version_id)


def _is_over(version: resources_pb2.ModelVersion) -> bool:
    """Whether no line can follow; a version that waits for its training may still get some."""
    state = state_of(version.status.code)
    return state is State.UNTRAINED or not MOVES[state]


def _entry(line: rows.Line) -> resources_pb2.LogEntry:
    return resources_pb2.LogEntry(message=f"{line.at.ToJsonString()}  {line.text}", log_type=TRAINING)
