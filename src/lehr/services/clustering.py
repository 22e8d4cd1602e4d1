"""Clusterers: an app's inputs put together by likeness. The request half queues it, the worker half finds the clusters.

What belongs where is kept as annotations by the model version, one per input with `data.clusters`: so ListAnnotations
and searches list the clusters with their items. A second entry `copy-…` names a group of near-duplicates.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import Connection

from lehr.errors import InvalidModel, LehrError, NoTrainingData, TrainingStopped
from lehr.hyperparameters import parse
from lehr.jobs.queue import Job, Queue
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef, checked_id
from lehr.protocol.statuses import status
from lehr.protocol.structs import Plain, from_struct, to_struct
from lehr.services.bundles import Bundles
from lehr.services.clusterer_form import ClustererForm
from lehr.store import annotations as annotation_rows
from lehr.store import bundles as bundle_rows
from lehr.store import clustering as rows
from lehr.store import embeddings
from lehr.store import logs as log_rows
from lehr.store import versions as version_rows
from lehr.store.db import Database
from lehr.store.embeddings import Generation
from lehr.store.times import now
from lehr.store.versions import ModelVersionRef

if TYPE_CHECKING:
    from lehr.learn.clusters import Clusters

KIND = "cluster"
COPIES = "copy-"
_WRITE_AT_ONCE = 500
_BESIDE = ("dataset_id", "dataset_version_id", "template")


def form_of(version: resources_pb2.ModelVersion) -> ClustererForm:
    """What was chosen. Raises InvalidParams with every problem at once."""
    params = from_struct(version.train_info.params)
    own = {name: value for name, value in params.items() if name not in _BESIDE and value is not None}
    form: ClustererForm = parse(ClustererForm, own).form
    return form


def order_clusters(tx: Connection, queue: Queue, vref: ModelVersionRef, version: resources_pb2.ModelVersion) -> None:
    """Stores the version and queues its job. Raises InvalidParams, InvalidModel, NotFound."""
    form_of(version)
    dataset_id = _dataset_of(version)
    if dataset_id:
        rows.check_dataset(tx, vref.app, dataset_id)
    checked_id(vref.version_id, "Model version", refuse=InvalidModel)
    version.status.CopyFrom(status(status_code_pb2.MODEL_QUEUED_FOR_TRAINING))
    version_rows.insert(tx, vref.app, vref.model_id, version)
    queue.add(tx, KIND, {}, str(vref))


def _dataset_of(version: resources_pb2.ModelVersion) -> str:
    return str(from_struct(version.train_info.params).get("dataset_id") or version.train_info.dataset.id or "")


@dataclass(frozen=True, kw_only=True)
class Clustering:
    """The worker half. Needs the store, the queue and a place for bundles."""

    db: Database
    queue: Queue
    bundles: Bundles

    def run(self, job: Job) -> None:
        """Finds the clusters of the version that the job names, and publishes them with their items."""
        from lehr.learn.clusters import duplicates, find_clusters, write_clusters

        vref = ModelVersionRef.parse(job.subject)
        version, generation = self._begin(job, vref)
        form = form_of(version)
        keys_N, vectors_ND = self._vectors(vref.app, generation, _dataset_of(version))
        clusters = find_clusters(vectors_ND, form.coarse_clusters, form.seed)
        found = _Found(
            keys_N=keys_N,
            numbers_N=clusters.nearest(vectors_ND),
            copies_N=duplicates(vectors_ND, form.duplicate_score),
            clusters=clusters,
            vectors_ND=vectors_ND,
        )
        with tempfile.TemporaryDirectory(dir=self.bundles.scratch()) as beside:
            kept = form.model_dump() | {"embedder": str(generation.embedder)}
            bundle = write_clusters(clusters, kept, Path(beside) / "bundle")
            sha, size = self.bundles.pack(bundle.folder)
        self._keep_items(job, vref, found)
        self._publish(job, vref, found, bundle_rows.Bundle(sha=sha, size=size))

    def failed(self, tx: Connection, job: Job, error: Exception) -> None:
        """Writes the reason where the user reads it."""
        vref = ModelVersionRef.parse(job.subject)
        version = version_rows.get(tx, vref)
        if version is not None:
            code = error.code if isinstance(error, TrainingStopped) else status_code_pb2.MODEL_TRAINING_FAILED
            reason = error.details if isinstance(error, LehrError) else f"{type(error).__name__}: {error}"
            log_rows.append(tx, vref, [f"Clustering failed: {reason}"])
            version_rows.set_status(tx, vref, status(code, reason))

    def _begin(self, job: Job, vref: ModelVersionRef) -> tuple[resources_pb2.ModelVersion, Generation]:
        with self.db.write() as tx:
            self.queue.fence(tx, job)
            version = version_rows.set_status(tx, vref, status(status_code_pb2.MODEL_TRAINING, "finding clusters"))
            generation = embeddings.serving(tx, vref.app)
        if generation is None or not generation.dimensions:
            raise NoTrainingData(
                f"App {vref.app.app_id!r} has no embeddings to put together: give it a default workflow with an "
                "embedder (General, for one) and wait until its inputs are indexed."
            )
        return version, generation

    def _vectors(self, app: AppRef, generation: Generation, dataset_id: str) -> tuple[np.ndarray, np.ndarray]:
        """Keys [N] and unit vectors [N, D] of the inputs, of a video the mean of its frames'."""
        with self.db.read() as tx:
            found = embeddings.read(tx, generation.key, after=0, limit=1 << 31)
            wanted = rows.keys_of_dataset(tx, app, dataset_id) if dataset_id else None
        whole = found.annotation_keys == 0
        if wanted is not None:
            whole &= np.isin(found.input_keys, wanted)
        keys_N, places = np.unique(found.input_keys[whole], return_inverse=True)
        if len(keys_N) < 2:
            raise NoTrainingData(f"There are {len(keys_N)} embedded inputs; clusters are of two at least.")
        sums_ND = np.zeros((len(keys_N), found.values_ND.shape[1]), np.float32)
        np.add.at(sums_ND, places, found.values_ND[whole].astype(np.float32))
        return keys_N, sums_ND / np.maximum(np.linalg.norm(sums_ND, axis=1, keepdims=True), 1e-12)

    def _keep_items(self, job: Job, vref: ModelVersionRef, found: _Found) -> None:
        """One annotation per input; an earlier attempt's has the same id and is replaced."""
        with self.db.read() as tx:
            input_ids = rows.input_ids(tx, vref.app, found.keys_N.tolist())
        for start in range(0, len(found.keys_N), _WRITE_AT_ONCE):
            some = range(start, min(start + _WRITE_AT_ONCE, len(found.keys_N)))
            made = [found.annotation(vref, input_ids, index) for index in some]
            made = [annotation for annotation in made if annotation.input_id]
            with self.db.write() as tx:
                self.queue.fence(tx, job)
                self.queue.progressed(tx, job)
                before = annotation_rows.of_inputs(tx, vref.app, [each.input_id for each in made])
                known = {(each.input_id, each.id): each for group in before.values() for each in group}
                fresh = [each for each in made if each.input_id in before and (each.input_id, each.id) not in known]
                annotation_rows.insert(tx, vref.app, fresh)
                annotation_rows.update(tx, vref.app, _changed(made, known))

    def _publish(self, job: Job, vref: ModelVersionRef, found: _Found, bundle: bundle_rows.Bundle) -> None:
        with self.db.write() as tx:
            self.queue.fence(tx, job)
            version = version_rows.get(tx, vref)
            assert version is not None, "the fence holds only while the version is there"
            facts = found.facts()
            version.metadata.MergeFrom(to_struct({"lehr": facts}))
            version.total_input_count = len(found.keys_N)
            version.completed_at.CopyFrom(now())
            version.status.CopyFrom(status(status_code_pb2.MODEL_TRAINED, percent_completed=100))
            bundle_rows.put(tx, vref, bundle)
            version_rows.update(tx, vref, version)
            sentence = f"{len(found.keys_N):,} inputs in {len(found.clusters.counts_K)} clusters."
            log_rows.append(tx, vref, [sentence])
            self.queue.finish(tx, job)


def _changed(
    made: Sequence[resources_pb2.Annotation], known: Mapping[tuple[str, str], resources_pb2.Annotation]
) -> list[resources_pb2.Annotation]:
    """Those that are stored and say something else now."""
    changed = []
    for each in made:
        stored = known.get((each.input_id, each.id))
        if stored is not None and stored.data != each.data:
            stored.data.CopyFrom(each.data)
            changed.append(stored)
    return changed


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Which input belongs where."""

    keys_N: np.ndarray
    numbers_N: np.ndarray
    copies_N: np.ndarray
    """Number of the group of near-duplicates, -1 for what has none."""
    clusters: Clusters
    vectors_ND: np.ndarray

    def annotation(self, vref: ModelVersionRef, input_ids: dict[int, str], index: int) -> resources_pb2.Annotation:
        """What the version says of one input; without an input id where that went meanwhile."""
        number, copy = int(self.numbers_N[index]), int(self.copies_N[index])
        vector_1D = self.vectors_ND[index : index + 1]
        score = float(self.clusters.scores(vector_1D, self.numbers_N[index : index + 1])[0])
        place = self.clusters.projections(vector_1D)[0].tolist()
        input_id = input_ids.get(int(self.keys_N[index]), "")
        said = resources_pb2.Annotation(
            id=hashlib.blake2b(f"{vref}\0{input_id}".encode(), digest_size=16).hexdigest(),
            input_id=input_id,
            user_id=vref.app.user_id,
            model_version_id=vref.version_id,
        )
        said.status.CopyFrom(status(status_code_pb2.ANNOTATION_SUCCESS))
        said.worker.model.id, said.worker.model.model_version.id = vref.model_id, vref.version_id
        count = int(self.clusters.counts_K[number])
        said.data.clusters.add(id=str(number), count=count, score=score, projection=place)
        if copy >= 0:
            said.data.clusters.add(id=f"{COPIES}{copy}", count=int(self.copy_counts[copy]), score=score)
        return said

    @cached_property
    def copy_counts(self) -> np.ndarray:
        """int [G]: how many each group of near-duplicates has."""
        return np.bincount(self.copies_N[self.copies_N >= 0])

    def facts(self) -> dict[str, Plain]:
        """How large the clusters and groups of near-duplicates are."""
        groups = np.unique(self.copies_N[self.copies_N >= 0], return_counts=True)
        return {
            "clusters": _sizes("", range(len(self.clusters.counts_K)), np.bincount(self.numbers_N).tolist()),
            "near_duplicates": _sizes(COPIES, groups[0].tolist(), groups[1].tolist()),
        }


def _sizes(prefix: str, names: Sequence[int], counts: Sequence[int]) -> list[Plain]:
    return [{"id": f"{prefix}{name}", "count": count} for name, count in zip(names, counts, strict=False)]
