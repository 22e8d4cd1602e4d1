"""Exports as they are made: the worker half of services/exports.py.

Runs in a process of its own (`lehr job ID`), which alone holds the job's lease. Begun again after a crash, it starts
over: nothing is kept half done. Pictures are decoded by the decoder processes, as everywhere.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Connection

from lehr.errors import NotFound, TooLarge, UndecodableImage
from lehr.jobs.queue import Job, Queue
from lehr.jobs.retry import sentence
from lehr.learn.items import Item
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.statuses import status
from lehr.services.batches import chunks
from lehr.services.bundles import Bundles
from lehr.services.exports import FAILED
from lehr.services.models import found_model, found_version
from lehr.services.plans import source_of
from lehr.services.predicted_regions import threshold_of
from lehr.services.training_contents import Contents
from lehr.services.training_data import Reader
from lehr.serving.decoders import DecoderPool
from lehr.store import concepts as concept_rows
from lehr.store import model_exports as rows
from lehr.store.blobs import Blobs
from lehr.store.db import Database
from lehr.store.items import Source
from lehr.store.model_exports import StoredExport
from lehr.store.versions import ModelVersionRef

if TYPE_CHECKING:
    from lehr.learn.bundle import Bundle
    from lehr.learn.exports.writing import ExportOrder

COMPARED_ITEMS = 16
LOOKED_AT_ITEMS = 5000
"""As many items are looked through for those that the training kept back."""
DRAWN_PICTURES = 8
COMPRESSED = (".json", ".md", ".py")
"""Weights do not get smaller."""


@dataclass(frozen=True, kw_only=True)
class Exporting:
    """The worker half. Needs the store, the blobs, trained bundles and decoder processes."""

    db: Database
    blobs: Blobs
    queue: Queue
    bundles: Bundles
    decoders: DecoderPool

    def run(self, job: Job) -> None:
        """Exports the version that is the job's subject. Raises ExportDisagrees."""
        vref = ModelVersionRef.parse(job.subject)
        self._told(job, vref, "writing the network and comparing it")
        scratch = Path(tempfile.mkdtemp(dir=self.bundles.scratch(), prefix="export-"))
        try:
            sha, size, details = self._made(job, vref, scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        so = status(status_code_pb2.MODEL_EXPORTED, details, percent_completed=100)
        export = resources_pb2.ModelVersionExport(status=so, size=size)
        with self.db.write() as tx:
            self.queue.fence(tx, job)
            rows.put(tx, vref, StoredExport(export=export, sha=sha))
            self.queue.finish(tx, job)

    def failed(self, tx: Connection, job: Job, error: Exception) -> None:
        """Writes the reason where the user reads it."""
        vref = ModelVersionRef.parse(job.subject)
        if rows.get(tx, vref) is not None:
            export = resources_pb2.ModelVersionExport(status=status(FAILED, sentence(error)))
            rows.put(tx, vref, StoredExport(export=export))

    def _told(self, job: Job, vref: ModelVersionRef, words: str) -> None:
        export = resources_pb2.ModelVersionExport(status=status(status_code_pb2.MODEL_EXPORTING, words))
        with self.db.write() as tx:
            self.queue.fence(tx, job)
            rows.put(tx, vref, StoredExport(export=export))

    def _made(self, job: Job, vref: ModelVersionRef, scratch: Path) -> tuple[str, int, str]:
        """SHA-256 and size of the zip, and a sentence on how well it agrees."""
        from lehr.learn.bundle import read_bundle
        from lehr.learn.exports.writing import write_export

        order = self._order(job, vref, read_bundle(self.bundles.folder_of(vref)))
        folder = scratch / "files"
        folder.mkdir()
        comparison = write_export(order, folder)["comparison"]
        self.queue.beat(job)
        archive = _zipped(folder, scratch / "export.zip")
        with archive.open("rb") as file:
            sha = self.blobs.put(file)
        kind = "items of the data" if comparison["are_real"] else "drawn pictures, since no item of the data is left"
        details = (
            f"compared on {len(comparison['pictures'])} {kind}: largest difference "
            f"{comparison['from_trained']['largest']:.2g} from the trained network"
        )
        return sha, archive.stat().st_size, details

    def _order(self, job: Job, vref: ModelVersionRef, bundle: Bundle) -> ExportOrder:
        from lehr.learn.exports.writing import ExportOrder

        with self.db.read() as tx:
            model = found_model(tx, vref.app, vref.model_id)
            version = found_version(tx, vref.app, vref.model_id, vref.version_id)
            names = _names(tx, vref, bundle.concepts)
        source = source_of(vref.app, model.model_type_id, version)
        pictures = self._pictures(job, source, bundle)
        return ExportOrder(
            bundle=bundle,
            labels=[{"id": concept, "name": names.get(concept, concept)} for concept in bundle.concepts],
            about=_about(model, version),
            detection_threshold=threshold_of((), version.output_info, bundle),
            pictures=pictures or _drawn(bundle.preprocessing.image_size),
            are_real=bool(pictures),
        )

    def _pictures(self, job: Job, source: Source, bundle: Bundle) -> dict[str, np.ndarray]:
        """Item id to pixels; items that the training kept back go first."""
        found: dict[str, np.ndarray] = {}
        for item in self._candidates(source, bundle):
            self.queue.beat(job)
            try:
                side = bundle.preprocessing.image_size
                found[item.id] = self.decoders.decode(item.read(), shorter_side=side).pixels
            except (UndecodableImage, TooLarge, NotFound):
                continue  # it was left out of the training too
            if len(found) == COMPARED_ITEMS:
                break
        return found

    def _candidates(self, source: Source, bundle: Bundle) -> Iterator[Item]:
        from lehr.learn.bundle import read_evaluation

        evaluation = read_evaluation(bundle.folder)
        kept_back = {row.item_id for row in evaluation.rows} if evaluation else set()
        try:
            reader = Reader(db=self.db, contents=Contents(blobs=self.blobs, decoders=self.decoders))
            items = list(islice(reader.read(source, {}), LOOKED_AT_ITEMS))
        except NotFound:  # the data set went after the training
            return
        yield from sorted(items, key=lambda item: item.id not in kept_back)


def _names(tx: Connection, vref: ModelVersionRef, concept_ids: tuple[str, ...]) -> dict[str, str]:
    names: dict[str, str] = {}
    for ids in chunks(concept_ids):
        names |= {key: concept.name for key, concept in concept_rows.get_many(tx, vref.app, ids).items()}
    return names


def _about(model: resources_pb2.Model, version: resources_pb2.ModelVersion) -> dict[str, Any]:
    return {
        "user_id": model.user_id,
        "app_id": model.app_id,
        "model_id": model.id,
        "name": model.name,
        "model_type_id": model.model_type_id,
        "version_id": version.id,
        "description": version.description,
        "license": version.license,
        "created_at": version.created_at.ToJsonString(),
    }


def _drawn(side: int) -> dict[str, np.ndarray]:
    """Soft coloured noise, the same every time: better than nothing to compare two networks on."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (DRAWN_PICTURES, 8, 8, 3), dtype=np.uint8)
    scale = -(-side // 8)
    return {f"drawn {number}": np.kron(one, np.ones((scale, scale, 1), np.uint8)) for number, one in enumerate(coarse)}


def _zipped(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.iterdir()):
            kind = zipfile.ZIP_DEFLATED if path.suffix in COMPRESSED else zipfile.ZIP_STORED
            archive.write(path, path.name, compress_type=kind)
    return target
