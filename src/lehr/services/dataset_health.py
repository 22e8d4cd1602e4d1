"""Health reports of data sets: asked for, made by a job that goes on where it was killed, and read.

A report speaks of the data set as it was when the job read it. What counts as a finding is services/health_findings.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lehr.errors import LehrError, NotFound
from lehr.jobs.queue import Job, Queue, State
from lehr.protocol.ids import AppRef
from lehr.services.batches import chunks
from lehr.services.datasets import found_dataset
from lehr.services.health_findings import Facts, Report, report_of
from lehr.services.training_data import boxes_of, labels_of
from lehr.store import health as health_rows
from lehr.store import items as item_rows
from lehr.store.blobs import Blobs
from lehr.store.db import Database

if TYPE_CHECKING:
    from lehr.serving.decoders import DecoderPool

KIND = "dataset_health"
_SIDE = 64
"""Pictures are compared at this size."""
_MAX_UNREADY = 1000
_PORTION = 200
"""Signatures that are written at once."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """A report and whether a newer one is being made."""

    report: Report | None
    made_at_ms: int
    is_running: bool
    problem: str
    """Why the last attempt failed; empty where it did not."""


@dataclass(frozen=True, kw_only=True)
class HealthReports:
    """The request half: needs the store and the queue."""

    db: Database
    queue: Queue

    def request(self, ref: AppRef, dataset_id: str) -> None:
        """Has a report made, unless one waits to be made already. Raises NotFound."""
        with self.db.write() as tx:
            found_dataset(tx, ref, dataset_id)
            payload = {"user_id": ref.user_id, "app_id": ref.app_id, "dataset_id": dataset_id}
            self.queue.add_once(tx, KIND, payload, subject(ref, dataset_id))

    def get(self, ref: AppRef, dataset_id: str) -> Health:
        """The newest report. Raises NotFound."""
        with self.db.read() as tx:
            stored = health_rows.report(tx, ref, dataset_id)
            jobs = self.queue.of_subject(tx, subject(ref, dataset_id))
        newest = jobs[0] if jobs else None
        return Health(
            report=Report.from_json(stored.report) if stored else None,
            made_at_ms=stored.made_at if stored else 0,
            is_running=newest is not None and not newest.state.is_final,
            problem=newest.error if newest is not None and newest.state == State.FAILED else "",
        )


@dataclass(frozen=True, kw_only=True)
class HealthChecks:
    """The worker half: needs the store, the blobs, the queue and decoder processes."""

    db: Database
    blobs: Blobs
    queue: Queue
    decoders: DecoderPool
    turn_seconds: float = 30.0
    """A run that has looked at pictures for so long lets others have their turn, and what is left waits behind them."""

    def run(self, job: Job) -> None:
        """Reads every item, compares every picture, writes the report. Raises Cancelled or LeaseLost."""
        ref = AppRef(str(job.payload["user_id"]), str(job.payload["app_id"]))
        dataset_id = str(job.payload["dataset_id"])
        with self.db.read() as tx:
            unreadable = {
                each.id: each.status.details or each.status.description
                for each in health_rows.unready(tx, ref, dataset_id, limit=_MAX_UNREADY)
            }
            items = list(_read(item_rows.stream(tx, item_rows.Source(app=ref, dataset_id=dataset_id))))
        signatures = self._signatures(job, items, unreadable)
        if signatures is None:
            return self._take_turns(job)
        report = report_of(_grouped(items, signatures), unreadable)
        with self.db.write() as tx:
            self.queue.fence(tx, job)
            health_rows.put(tx, ref, dataset_id, report.to_json())
            self.queue.clear_done(tx, job.subject, but=job.id)
        return None

    def _take_turns(self, job: Job) -> None:
        with self.db.write() as tx:
            self.queue.finish(tx, job)
            self.queue.add(tx, KIND, job.payload, job.subject)

    def _signatures(
        self, job: Job, items: Sequence[tuple[Facts, str]], unreadable: dict[str, str]
    ) -> dict[str, bytes] | None:
        """Picture → signature; items that cannot be decoded are put among the unreadable. None: the turn is over."""
        deadline = time.monotonic() + self.turn_seconds
        shas = list(dict.fromkeys(sha for _, sha in items))
        known: dict[str, bytes] = {}
        with self.db.read() as tx:
            for some in chunks(shas):
                known.update(health_rows.signatures(tx, some))
        bad: dict[str, str] = {}
        new = [sha for sha in shas if sha not in known]
        for number, portion in enumerate(self._made(new), 1):
            good = {sha: one for sha, one in portion.items() if isinstance(one, bytes)}
            bad.update((sha, one) for sha, one in portion.items() if isinstance(one, str))
            with self.db.write() as tx:
                self.queue.progressed(tx, job)
                health_rows.put_signatures(tx, good)
            known.update(good)
            if good and number * _PORTION < len(new) and time.monotonic() > deadline:
                return None
        unreadable.update((facts.id, bad[sha]) for facts, sha in items if sha in bad)
        return known

    def _made(self, shas: Sequence[str]) -> Iterator[dict[str, bytes | str]]:
        with ThreadPoolExecutor(2, "health") as threads:
            for start in range(0, len(shas), _PORTION):
                portion = shas[start : start + _PORTION]
                yield dict(zip(portion, threads.map(self._signature, portion), strict=True))

    def _signature(self, sha: str) -> bytes | str:
        """The signature, or a sentence why there is none."""
        from lehr.learn.data.packs import signature

        try:
            return signature(self.decoders.decode(self.blobs.read(sha), shorter_side=_SIDE).pixels)
        except NotFound:
            return "Its bytes are gone from the blob store."
        except LehrError as error:
            return error.details


def subject(ref: AppRef, dataset_id: str) -> str:
    """What the job is about; deleting the app cancels it."""
    return f"{ref.user_id}/{ref.app_id}/datasets/{dataset_id}/health"


def _read(stream: Iterator[item_rows.Item]) -> Iterator[tuple[Facts, str]]:
    """What counts of every picture, with its blob; videos and texts are left out."""
    for item in stream:
        if not item.input.data.HasField("image"):
            continue
        info = item.input.data.image.image_info
        facts = Facts(
            id=item.input_id,
            width=info.width,
            height=info.height,
            positives=labels_of(item)[0],
            boxes=boxes_of(item),
            group=0,
        )
        yield facts, item.content_sha


def _grouped(items: Sequence[tuple[Facts, str]], signatures: Mapping[str, bytes]) -> list[Facts]:
    """The items that can be read, each with its group of near-duplicates."""
    import numpy as np

    from lehr.learn.data import near_duplicates

    readable = [(facts, signatures[sha]) for facts, sha in items if sha in signatures]
    if not readable:
        return []
    table = np.stack([np.frombuffer(signature, np.uint8) for _, signature in readable])
    groups = near_duplicates.groups(table)
    return [replace(facts, group=int(group)) for (facts, _), group in zip(readable, groups, strict=True)]
