"""Keeps an app's vectors complete: what arrives is embedded, generation by generation, by one job of the app at a time.

A job works for some seconds and then hands over to the next, if any waits, so that a long re-index leaves room for
uploads. Whatever it has embedded is written in small transactions that take the work away with them: begun again after
a crash, it goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from lehr.errors import LehrError, Loading, ModelNotFound, Untrained
from lehr.jobs.queue import Job, Queue, State
from lehr.jobs.retry import sentence
from lehr.learn.bundle import read_bundle
from lehr.learn.data.packed import Packed
from lehr.protocol.ids import AppRef
from lehr.services.base_workflow import default_workflow, embedder_of
from lehr.services.bundles import Bundles
from lehr.services.embedding import Embedding
from lehr.services.index_switch import switch
from lehr.serving.decoders import DecoderPool
from lehr.serving.occasional import Occasional
from lehr.store import apps as app_rows
from lehr.store import backlog
from lehr.store import embeddings as rows
from lehr.store import versions as version_rows
from lehr.store.backlog import Settled, Subject
from lehr.store.blobs import Blobs
from lehr.store.db import Database
from lehr.store.embeddings import Generation

log = logging.getLogger(__name__)

KIND = "index"
SLICE_SECONDS = 10.0
"""A job hands over after this long where others are due: uploads wait for the same threads."""
LOOK_SECONDS = 1.0
"""So often it looks from then on whether they are."""
ROUND_SECONDS = 0.5
"""Outcomes of this long go into one transaction."""
PAGE = 256
FILL = 2000
CLEAR = 2000
NOT_READY_SECONDS = 3.0
WATCH_SECONDS = 2.0
AFTER_FAILURE_MS = 600_000
DEFAULT_SAMPLE_MS = 1000


def subject_of(ref: AppRef) -> str:
    """What the app's index jobs are called."""
    return f"{ref.user_id}/{ref.app_id}/index"


def wake(tx: Connection, queue: Queue, ref: AppRef, *, delay_seconds: float = 0) -> None:
    """Queues the app's index job, unless one waits already."""
    payload = {"user_id": ref.user_id, "app_id": ref.app_id}
    if delay_seconds:
        queue.add(tx, KIND, payload, subject_of(ref), delay_seconds=delay_seconds)
    else:
        queue.add_once(tx, KIND, payload, subject_of(ref))


def arrived(tx: Connection, queue: Queue, ref: AppRef, input_ids: Sequence[str]) -> None:
    """Inputs are ready: they will be embedded. An app's first ones begin its first generation, if it can embed."""
    if not input_ids:
        return
    if not rows.living(tx, ref):
        embedder = embedder_of(tx, ref)
        if embedder is None:
            return
        rows.add(tx, ref, embedder, workflow=default_workflow(tx, ref), state=rows.State.SERVING)
    else:
        backlog.expect_inputs(tx, ref, input_ids)
    wake(tx, queue, ref)


@dataclass(kw_only=True)
class Turn:
    """How long a job goes on: a while, and then until another job is due."""

    queue: Queue
    job: Job
    until: float
    """As time.monotonic tells."""
    _is_over: bool = field(default=False, init=False)

    def is_over(self) -> bool:
        """Whether it is time to hand over; it stays so."""
        if not self._is_over and time.monotonic() > self.until:
            self._is_over = self.queue.others_wait(self.job)
            self.until = time.monotonic() + LOOK_SECONDS
        return self._is_over


@dataclass(frozen=True, kw_only=True)
class Indexing:
    """The worker half. Needs the store, the blobs, trained bundles, decoder processes and a predictor process."""

    db: Database
    blobs: Blobs
    queue: Queue
    bundles: Bundles
    decoders: DecoderPool
    predictor: Occasional
    packed: Packed
    parallel_decodes: int = 3
    slice_seconds: float = SLICE_SECONDS

    def run(self, job: Job) -> None:
        """Fills and empties the backlog of the app's live generations, and lets a complete one take over."""
        ref = AppRef(str(job.payload["user_id"]), str(job.payload["app_id"]))
        if not self._is_alone(job, ref):
            return
        turn = Turn(queue=self.queue, job=job, until=time.monotonic() + self.slice_seconds)
        delay = 0.0
        for generation in self._living(ref):
            self.queue.beat(job)
            try:
                self._work_on(job, ref, generation, turn)
            except (Untrained, Loading) as error:  # built-in ones are made when first needed
                self._check_exists(generation)
                log.info("generation %d of %s waits: %s", generation.number, job.subject, error.details)
                delay = NOT_READY_SECONDS
        self._clear(job, ref, turn)
        self._end(job, ref, delay)

    def failed(self, tx: Connection, job: Job, error: Exception) -> None:
        """In the transaction that gives a job up: what waits is told why, and a generation in the making is dropped."""
        ref = AppRef(str(job.payload["user_id"]), str(job.payload["app_id"]))
        for generation in rows.living(tx, ref):
            backlog.give_up(tx, generation.key, sentence(error))
            if generation.state is rows.State.BUILDING:
                rows.set_state(tx, generation.key, rows.State.DROPPED)

    def _is_alone(self, job: Job, ref: AppRef) -> bool:
        """Whether no other job works on the app: that one will see everything that this one was queued for."""
        with self.db.write() as tx:
            _lock_all(tx, ref)
            others = [view for view in self.queue.of_subject(tx, job.subject) if view.job.id != job.id]
            if any(view.state is State.RUNNING for view in others):
                self.queue.finish(tx, job)
                return False
        return True

    def _check_exists(self, generation: Generation) -> None:
        with self.db.read() as tx:
            if version_rows.get(tx, generation.embedder) is None:
                raise ModelNotFound(f"The embedder {generation.embedder} of this app's base workflow was deleted.")

    def _living(self, ref: AppRef) -> list[Generation]:
        with self.db.read() as tx:
            return rows.living(tx, ref)

    def _work_on(self, job: Job, ref: AppRef, generation: Generation, turn: Turn) -> None:
        self._drain(job, ref, generation, turn)
        if generation.state is rows.State.BUILDING and not turn.is_over():
            switch(self.db, self.queue, job, ref, generation)

    def _drain(self, job: Job, ref: AppRef, generation: Generation, turn: Turn) -> None:
        """Embeds what waits until nothing does or the turn is over."""
        subjects = self._subjects(job, generation, turn)
        first = next(subjects, None)
        if first is None:
            return
        folder = self.bundles.folder_of(generation.embedder)
        side = read_bundle(folder).preprocessing.image_size
        with self.predictor.lent() as predict:
            embedding = Embedding(
                blobs=self.blobs,
                decoders=self.decoders,
                forward=lambda pixels: predict(folder, pixels),
                side=side,
                sample_ms=self._sample_ms(ref),
                parallel_decodes=self.parallel_decodes,
                packed=self.packed.of_size(side),
            )
            self._write(job, generation, embedding.settled(_chain(first, subjects)))

    def _subjects(self, job: Job, generation: Generation, turn: Turn) -> Iterator[Subject]:
        """What waits, page by page; the backlog is filled before it runs out, so that the network never waits."""
        after, is_growing = 0, True
        while not turn.is_over():
            with self.db.read() as tx:
                waiting = backlog.waiting(tx, generation.key, after=after, limit=PAGE)
                subjects = backlog.subjects(tx, waiting)
            if len(waiting) < PAGE and is_growing:
                is_growing = self._fill(job, generation)
            elif not waiting:
                return
            after = waiting[-1].key if waiting else after
            for subject in subjects:
                if turn.is_over():
                    return
                yield subject

    def _fill(self, job: Job, generation: Generation) -> bool:
        """Puts more of the app's inputs into the backlog; whether there were any."""
        with self.db.write() as tx:
            self.queue.fence(tx, job)
            return backlog.fill(tx, generation, limit=FILL)

    def _sample_ms(self, ref: AppRef) -> int:
        with self.db.read() as tx:
            app = app_rows.get(tx, ref)
        return (app.sample_ms if app else 0) or DEFAULT_SAMPLE_MS

    def _write(self, job: Job, generation: Generation, outcomes: Iterator[list[Settled]]) -> None:
        gathered: list[Settled] = []
        written_at = time.monotonic()
        for some in outcomes:
            self.queue.beat(job)
            gathered += some
            if time.monotonic() - written_at > ROUND_SECONDS:
                self._settle(job, generation, gathered)
                gathered, written_at = [], time.monotonic()
        self._settle(job, generation, gathered)

    def _settle(self, job: Job, generation: Generation, settled: Sequence[Settled]) -> None:
        if settled:
            with self.db.write() as tx:
                self.queue.progressed(tx, job)
                backlog.settle(tx, generation.key, settled)

    def _clear(self, job: Job, ref: AppRef, turn: Turn) -> None:
        """Deletes the vectors of dropped generations, some at a time: others write in between."""
        while not turn.is_over():
            with self.db.write() as tx:
                self.queue.fence(tx, job)
                if not rows.clear_dropped(tx, ref, limit=CLEAR):
                    return

    def _end(self, job: Job, ref: AppRef, delay: float) -> None:
        """Finishes the job; where there is more to do, behind another one in the queue."""
        with self.db.write() as tx:
            _lock_all(tx, ref)
            self.queue.finish(tx, job)
            self.queue.clear_done(tx, job.subject, but=job.id)
            if backlog.with_work(tx, of=ref):
                wake(tx, self.queue, ref, delay_seconds=delay)


def _lock_all(tx: Connection, ref: AppRef) -> None:
    for generation in rows.living(tx, ref):
        rows.lock(tx, generation.key)


def _chain(first: Subject, rest: Iterator[Subject]) -> Iterator[Subject]:
    yield first
    yield from rest


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Queues the index jobs that nothing else asked for: after changes of annotations, and after mishaps."""

    db: Database
    queue: Queue

    def start(self) -> None:
        """Looks every two seconds, in a thread that ends with the process."""
        threading.Thread(target=self._go_on, name="index watch", daemon=True).start()

    def once(self) -> int:
        """Looks now; answers how many jobs were queued."""
        with self.db.read() as tx:
            idle = [ref for ref in backlog.with_work(tx) if self._is_idle(tx, ref)]
        for ref in idle:
            with self.db.write() as tx:
                wake(tx, self.queue, ref)
        return len(idle)

    def _is_idle(self, tx: Connection, ref: AppRef) -> bool:
        views = self.queue.of_subject(tx, subject_of(ref))
        if any(not view.state.is_final for view in views):
            return False
        newest = max(views, key=lambda view: view.finished_at or 0, default=None)
        if newest is None or newest.state is not State.FAILED:
            return True
        return (newest.finished_at or 0) < time.time() * 1000 - AFTER_FAILURE_MS

    def _go_on(self) -> None:
        pause = threading.Event()
        while not pause.wait(WATCH_SECONDS):
            try:
                self.once()
            except (LehrError, SQLAlchemyError, OSError):
                log.exception("looking for what is to be indexed failed; it is tried again")
