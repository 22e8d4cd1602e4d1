"""The worker's half of exporting a frozen version: one archive in one go, begun anew where it was stopped.

The archive depends only on the version, so beginning anew makes the same one. Formats are services/dataset_formats.py.
"""

from __future__ import annotations

import tempfile
import time
import zipfile
from dataclasses import dataclass
from typing import IO

from sqlalchemy import Connection

from lehr.errors import LehrError
from lehr.jobs.queue import Job, Queue
from lehr.protocol import resources_pb2
from lehr.protocol.statuses import status
from lehr.services.dataset_exports import FAILED, IN_PROGRESS, SUCCESS, ref_in
from lehr.services.dataset_formats import Coco, Writer, as_json, as_protobuf, complete_input
from lehr.store import dataset_exports as rows
from lehr.store import items
from lehr.store.blobs import Blobs
from lehr.store.dataset_exports import ExportRef, StoredExport
from lehr.store.db import Database

TOLD_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class ExportingDatasets:
    """Needs the store, the blobs and the queue."""

    db: Database
    blobs: Blobs
    queue: Queue

    def run(self, job: Job) -> None:
        """Makes the archive and names it. Raises Cancelled, LeaseLost or NotFound."""
        ref = ref_in(job.payload)
        with self.db.read() as tx:
            stored = rows.get(tx, ref)
        if stored is None or stored.sha:
            return
        with tempfile.TemporaryFile(prefix="lehr-export-") as file:
            self._write(job, ref, stored, file)
            size = file.seek(0, 2)
            file.seek(0)
            sha = self.blobs.put(file)
        stored.export.status.CopyFrom(status(SUCCESS, percent_completed=100))
        stored.export.size = size
        with self.db.write() as tx:
            self.queue.fence(tx, job)
            rows.update(tx, ref, StoredExport(export=stored.export, base_url=stored.base_url, sha=sha))

    def failed(self, tx: Connection, job: Job, error: Exception) -> None:
        """In the transaction that gives a job up: the export says why."""
        ref = ref_in(job.payload)
        try:
            stored = rows.get(tx, ref)
        except LehrError:
            return  # the version went meanwhile
        if stored is not None:
            known = error.details if isinstance(error, LehrError) else "the server had trouble; its log says more"
            stored.export.status.CopyFrom(status(FAILED, f"The version could not be exported: {known}", http=200))
            rows.update(tx, ref, stored)

    def _write(self, job: Job, ref: ExportRef, stored: StoredExport, file: IO[bytes]) -> None:
        source = items.Source(app=ref.app, dataset_id=ref.dataset_id, dataset_version_id=ref.version_id)
        told_at = time.monotonic()
        with self.db.read() as tx, zipfile.ZipFile(file, "w") as archive:
            number = items.count(tx, source)
            writer = self._writer(ref, stored.base_url, archive)
            for done, item in enumerate(items.stream(tx, source)):
                self.queue.beat(job)
                writer.add(item)
                if time.monotonic() - told_at > TOLD_SECONDS:
                    told_at = time.monotonic()
                    self._tell(job, ref, stored, 100 * done // number)
            writer.close()

    def _writer(self, ref: ExportRef, base_url: str, archive: zipfile.ZipFile) -> Writer:
        if ref.format == resources_pb2.COCO:
            return Coco(archive, self.blobs.read)
        form = as_protobuf if ref.format == resources_pb2.CLARIFAI_DATA_PROTOBUF else as_json
        return form(archive, lambda item: complete_input(item, ref.app, base_url))

    def _tell(self, job: Job, ref: ExportRef, stored: StoredExport, percent: int) -> None:
        stored.export.status.CopyFrom(status(IN_PROGRESS, percent_completed=percent))
        with self.db.write() as tx:
            self.queue.fence(tx, job)
            rows.update(tx, ref, stored)
