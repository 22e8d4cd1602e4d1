"""The worker's half of unpacking archives: entry by entry to inputs, going on by itself wherever it was killed.

How far it is, the inputs that came out and their counts are one transaction, so nothing comes in twice. A run takes
turns with other work: after a while it queues the rest of itself behind what waits.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, BinaryIO

from sqlalchemy import Connection

from lehr.errors import BadArchive, LehrError, NotFound
from lehr.jobs.queue import Job, Queue
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.services import add_jobs, extraction_states
from lehr.services.archive_inputs import input_from, is_litter, why_not
from lehr.services.archives import Bounds, Entry, EntryRefused, read_entries
from lehr.services.inputs import MAX_INPUTS, Inputs, Prepared, Upload
from lehr.services.upload_contents import PartsFile
from lehr.store import extractions as extraction_rows
from lehr.store import uploads as upload_rows
from lehr.store.blobs import Blobs
from lehr.store.db import Database
from lehr.store.extractions import Reached, StoredExtraction

if TYPE_CHECKING:
    from lehr.serving.fetch import Fetcher

BUFFER_BYTES = 1 << 18
BATCH_BYTES = 32 * 2**20
"""Bytes of inputs that are held at once."""
MAX_ARCHIVE_BYTES = 16 * 2**30
"""Of an archive from a URL."""
NUM_TOLD = 10
"""Entries left out that are told by name."""


@dataclass(kw_only=True)
class _Batch:
    """Entries that are dealt with together."""

    orders: list[resources_pb2.Input] = field(default_factory=list)
    num_bytes: int = 0
    refused: list[str] = field(default_factory=list)
    """Entries that should have been inputs, each with what is wrong with it."""
    left_out: list[str] = field(default_factory=list)
    """Entries that are no inputs, each with the reason."""
    position: int = 0

    @property
    def is_full(self) -> bool:
        return len(self.orders) >= MAX_INPUTS or self.num_bytes >= BATCH_BYTES

    def add(self, entry: Entry, template: resources_pb2.Input) -> None:
        self.position = entry.number + 1
        if entry.kind == "folder" or is_litter(entry.name):
            return
        if entry.kind != "file":
            self.left_out.append(f"{_short(entry.name)} is a {'link' if entry.kind == 'link' else 'special file'}")
            return
        try:
            data = entry.read()
        except EntryRefused as refusal:
            self.refused.append(refusal.details)
            return
        self.num_bytes += len(data)
        if reason := why_not(entry.name, data):
            self.left_out.append(f"{_short(entry.name)} {reason}")
        else:
            self.orders.append(input_from(entry.name, data, template))


@dataclass(frozen=True, kw_only=True)
class Extracting:
    """Needs what taking inputs in needs, and a way to fetch archives from URLs."""

    db: Database
    blobs: Blobs
    queue: Queue
    fetcher: Fetcher
    bounds: Bounds = field(default_factory=Bounds)
    turn_seconds: float = 30.0
    """A run that took so long lets others have their turn."""

    def run(self, job: Job) -> None:
        """Unpacks the archive of the job from where it is. Raises BadArchive, DownloadFailed, Cancelled, LeaseLost."""
        ref, deadline = _app_of(job), time.monotonic() + self.turn_seconds
        stored = self._begun(job, ref)
        if extraction_states.is_over(stored.message):
            return None
        with closing(self._archive(job, stored)) as archive:
            for batch in self._batches(archive, stored):
                self.queue.beat(job)
                self._settle(job, ref, batch)
                if time.monotonic() > deadline:
                    return self._take_turns(job, ref)
        with self.db.write() as tx:
            self.queue.fence(tx, job)
            _complete(tx, _found(tx, ref, _id_of(job)))
        return None

    def failed(self, tx: Connection, job: Job, error: Exception) -> None:
        """In the transaction that gives a job up: the extraction says why. What came out of the archive stays."""
        stored = extraction_rows.get(tx, _app_of(job), _id_of(job))
        if stored is None:
            return
        code = extraction_states.BAD_ARCHIVE if isinstance(error, BadArchive) else extraction_states.FAILED
        known = error.details if isinstance(error, LehrError) else "the server had trouble with it; its log says more"
        extraction_states.end(tx, stored, code, f"{known}{_so_far(stored)}")

    # -- the archive -----------------------------------------------------------------------------------------------

    def _begun(self, job: Job, ref: AppRef) -> StoredExtraction:
        with self.db.write() as tx:
            self.queue.fence(tx, job)
            stored = _found(tx, ref, _id_of(job))
            if stored.message.status.code == extraction_states.QUEUED:
                extraction_states.say(stored.message, extraction_states.RUNNING)
                extraction_rows.update(tx, ref, stored.message)
        return stored

    def _archive(self, job: Job, stored: StoredExtraction) -> _Archive:
        if stored.upload_key is not None:
            with self.db.read() as tx:
                upload = upload_rows.get(tx, stored.app, stored.upload_id)
                parts = upload_rows.parts(tx, stored.upload_key)
            if upload is None or not parts:
                raise BadArchive("The upload that holds the archive is gone.")
            file = PartsFile(self.blobs, parts)
            name = upload.message.content_name
            return _Archive(file=io.BufferedReader(file, BUFFER_BYTES), name=name, size=file.size)
        if not stored.message.url:
            raise BadArchive("The upload that held the archive was deleted.")
        sha = stored.archive_sha or self._fetched(job, stored)
        return _Archive(file=self.blobs.open(sha), name=_name_in(stored.message.url), size=self.blobs.size(sha))

    def _fetched(self, job: Job, stored: StoredExtraction) -> str:
        """The blob of an archive from a URL: fetched once, then named by the job."""
        with tempfile.TemporaryFile(prefix="lehr-archive-") as file:
            self.fetcher.fetch_pieces(stored.message.url, lambda piece: self._spooled(job, file, piece))
            file.seek(0)
            sha = self.blobs.put(file)
        with self.db.write() as tx:
            self.queue.progressed(tx, job)
            extraction_rows.set_archive(tx, stored.app, stored.id, sha)
        return sha

    def _spooled(self, job: Job, file: IO[bytes], piece: bytes) -> None:
        self.queue.beat(job)
        file.write(piece)

    def _batches(self, archive: _Archive, stored: StoredExtraction) -> Iterator[_Batch]:
        reached, batch = stored.reached, _Batch()
        entries = read_entries(
            archive.file,
            archive.name,
            archive.size,
            bounds=self.bounds,
            after=reached.position,
            spent=reached.num_bytes,
        )
        for entry in entries:
            batch.add(entry, stored.message.input_template)
            if batch.is_full:
                yield batch
                batch = _Batch()
        if batch.position:
            yield batch

    # -- what is written -------------------------------------------------------------------------------------------

    def _settle(self, job: Job, ref: AppRef, batch: _Batch) -> None:
        """The inputs of a batch and how far the archive is by then, in one transaction."""
        inputs = Inputs(db=self.db, blobs=self.blobs, queue=self.queue)
        with self.db.read() as tx:
            asked = _found(tx, ref, _id_of(job))
        prepared = inputs.prepare(_upload(asked, batch))
        with self.db.write() as tx:
            self.queue.progressed(tx, job)
            self._write(tx, ref, _found(tx, ref, _id_of(job)), batch, inputs, prepared)

    @staticmethod
    def _write(
        tx: Connection, ref: AppRef, stored: StoredExtraction, batch: _Batch, inputs: Inputs, prepared: Prepared
    ) -> None:
        if batch.orders:
            inputs.admit(tx, ref, stored.user_id, prepared)
        add_jobs.open_job(tx, ref, stored.add_job_id)
        add_jobs.count_refused(tx, ref, stored.add_job_id, len(batch.refused))
        for order in batch.orders:
            kind = next(kind for kind in ("image", "video", "audio", "text") if order.data.HasField(kind))
            name = f"{kind}_inputs_count"
            setattr(stored.message.progress, name, getattr(stored.message.progress, name) + 1)
        extraction_rows.update(tx, ref, stored.message, _further(stored.reached, batch))

    def _take_turns(self, job: Job, ref: AppRef) -> None:
        with self.db.write() as tx:
            self.queue.finish(tx, job)
            extraction_states.start(tx, self.queue, ref, _id_of(job))


@dataclass(frozen=True, kw_only=True)
class _Archive:
    file: BinaryIO
    name: str
    size: int

    def close(self) -> None:
        self.file.close()


def _upload(stored: StoredExtraction, batch: _Batch) -> Upload:
    with_suffixes = stored.message.input_id_conflict_resolution == resources_pb2.SUFFIX
    return Upload(inputs=batch.orders, add_job_id=stored.add_job_id, with_suffixes=with_suffixes)


def _further(reached: Reached, batch: _Batch) -> Reached:
    reasons = [*batch.refused, *batch.left_out]
    return replace(
        reached,
        position=batch.position,
        num_bytes=reached.num_bytes + batch.num_bytes,
        num_left_out=reached.num_left_out + len(reasons),
        left_out=(*reached.left_out, *reasons)[:NUM_TOLD],
    )


def _complete(tx: Connection, stored: StoredExtraction) -> None:
    """Ends it well, and lets go of an upload that nothing reads any more."""
    if not extraction_states.end(tx, stored, extraction_states.COMPLETED, _summary(stored)):
        return
    if stored.upload_key is not None:
        readers = extraction_rows.of_upload(tx, [stored.upload_key])
        if all(extraction_states.is_over(each.message) for each in readers):
            upload_rows.drop_parts(tx, [stored.upload_key])


def _summary(stored: StoredExtraction) -> str:
    progress, reached = stored.message.progress, stored.reached
    kinds = [(kind, getattr(progress, f"{kind}_inputs_count")) for kind in ("image", "video", "audio", "text")]
    found = ", ".join(f"{number} {kind} inputs" for kind, number in kinds if number) or "No inputs"
    return f"{found} came out of {reached.position} entries.{_left_out(reached)}"


def _left_out(reached: Reached) -> str:
    if not reached.num_left_out:
        return ""
    more = ", …" if reached.num_left_out > len(reached.left_out) else ""
    return f" {reached.num_left_out} were left out: {'; '.join(reached.left_out)}{more}."


def _so_far(stored: StoredExtraction) -> str:
    reached = stored.reached
    return f" {reached.position} entries were dealt with before." if reached.position else ""


def _found(tx: Connection, ref: AppRef, extraction_id: str) -> StoredExtraction:
    stored = extraction_rows.get(tx, ref, extraction_id)
    if stored is None:
        raise NotFound(f"There is no extraction job {extraction_id!r} in app {ref.app_id!r}.")
    return stored


def _app_of(job: Job) -> AppRef:
    return AppRef(str(job.payload["user_id"]), str(job.payload["app_id"]))


def _id_of(job: Job) -> str:
    return str(job.payload["extraction_id"])


def _name_in(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2] or "archive"


def _short(name: str) -> str:
    return name if len(name) <= 80 else f"{name[:80]}…"
