"""Training: the request half puts a version into the queue, the worker half trains it.

The worker half runs in a process of its own (`lehr job ID`), which alone holds the job's lease. Everything it writes is
fenced by the job's token, so that a run that lost its lease can change nothing any more.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from lehr.errors import InvalidModel, TrainingStopped
from lehr.jobs.queue import Job, Queue
from lehr.protocol import resources_pb2, service_pb2, status_code_pb2
from lehr.protocol.ids import AppRef, checked_id, new_id
from lehr.protocol.statuses import status
from lehr.services.bases import Bases, folders_of
from lehr.services.bundles import Bundles
from lehr.services.clustering import order_clusters
from lehr.services.concepts import ensure_concepts
from lehr.services.model_types import is_trainable
from lehr.services.models import found_model, with_version
from lehr.services.operator_types import is_operator, settle
from lehr.services.plans import Plan, inherited, plan_of
from lehr.services.trained import note, reason_of
from lehr.services.training_attempt import Attempt
from lehr.services.training_contents import Contents
from lehr.services.training_data import Reader, check_source, payload_of, searches_of
from lehr.services.training_sets import TrainingSet, packed, unpacked
from lehr.serving.decoders import DecoderPool
from lehr.store import logs as log_rows
from lehr.store import training_sets as training_set_rows
from lehr.store import versions as version_rows
from lehr.store.blobs import Blobs
from lehr.store.db import Database
from lehr.store.versions import ModelVersionRef

if TYPE_CHECKING:
    from lehr.learn.data.dataset import Data

KIND = "train"


@dataclass(frozen=True, kw_only=True)
class Orders:
    """The request half. Needs the store, the queue, and what trainings may build on."""

    db: Database
    queue: Queue
    bases: Bases

    def request(
        self, ref: AppRef, model_id: str, request: service_pb2.PostModelVersionsRequest, *, confined: bool = False
    ) -> resources_pb2.Model:
        """Makes a version and puts its training into the queue, in one transaction.

        What the request leaves out comes from the model. Raises as `Bases.of_order` does, InvalidParams, NotFound.
        """
        wanted = _wanted(request)
        bases = self.bases.of_order(ref, model_id, wanted, confined=confined)
        with self.db.write() as tx:
            model = found_model(tx, ref, model_id)
            version = inherited(model, wanted)
            version.id = checked_id(version.id, "Model version", refuse=InvalidModel) if version.id else new_id()
            version.app_id, version.user_id = ref.app_id, ref.user_id
            version.description = version.description or request.description
            if not is_trainable(model.model_type_id):
                return self._without_template(tx, model, version)
            plan = plan_of(ref, model.model_type_id, version)
            check_source(tx, plan.source)
            ensure_concepts(tx, ref, version.output_info.data.concepts)
            version.status.CopyFrom(status(status_code_pb2.MODEL_QUEUED_FOR_TRAINING, "; ".join(plan.notices)))
            version.metadata.fields.pop("lehr", None)  # copied from a version that was trained, say
            if plan.notices:
                note(version, (), plan.notices)
            version_rows.insert(tx, ref, model_id, version)
            self.queue.add(tx, KIND, payload_of(request) | bases, str(ModelVersionRef(ref, model_id, version.id)))
        return with_version(model, version)

    def _without_template(
        self, tx: Connection, model: resources_pb2.Model, version: resources_pb2.ModelVersion
    ) -> resources_pb2.Model:
        """A version of an operator works at once; a clusterer's is made by a job of its own."""
        ref = AppRef(model.user_id, model.app_id)
        ensure_concepts(tx, ref, version.output_info.data.concepts)
        if is_operator(model.model_type_id):
            settle(version, model.model_type_id)
            version_rows.insert(tx, ref, model.id, version)
        else:
            order_clusters(tx, self.queue, ModelVersionRef(ref, model.id, version.id), version)
        return with_version(model, version)


@dataclass(frozen=True, kw_only=True)
class Training:
    """The worker half. Needs the store, the blobs, decoder processes and folders of this machine."""

    db: Database
    blobs: Blobs
    queue: Queue
    bundles: Bundles
    decoders: DecoderPool
    packs: Path
    weights: Path | None = None
    precision: str = "auto"
    """The setting of that name."""
    parallel_decodes: int = 2

    def run(self, job: Job) -> None:
        """Trains the version that the job names, from its last checkpoint if there is one."""
        from lehr.learn.base_weights import check_weights
        from lehr.learn.bundle import write_bundle
        from lehr.learn.device import choose_device
        from lehr.learn.evaluate import evaluate
        from lehr.learn.gpu_turns import training_on
        from lehr.learn.out_of_memory import explained
        from lehr.learn.precision import Precision

        run = Attempt(training=self, job=job, vref=ModelVersionRef.parse(job.subject))
        plan = run.start()
        folders = folders_of(job.payload, self.bundles)
        check_weights(plan.base, folders.base or folders.earlier, self.weights)
        data = self._data(run, plan, folders.base)
        run.note(data.findings)
        problem = replace(data.problem(choose_device(), self.weights), base=folders.base, earlier=folders.earlier)
        checkpoint = run.checkpoint(data)
        precision = Precision(choice=self.precision, folder=self.packs.parent / "precision")
        recipe = plan.template.recipe(plan.form, problem)
        with training_on(problem.device, self.packs.parent / "gpus", run.waits), explained(recipe):
            recipe = precision.decided(recipe, data, checkpoint, on_step=run.tried)
            state = run.train(recipe, data, checkpoint)
            run.enter("evaluating on the held-out part")
            evaluation = evaluate(recipe, data, state) if data.num_held_out else None
            run.enter("writing the serving form")
            with tempfile.TemporaryDirectory(dir=self.bundles.scratch()) as beside:
                bundle = write_bundle(recipe, data, state, evaluation, Path(beside) / "bundle")
                run.finish(bundle, evaluation, data)

    def failed(self, tx: Connection, job: Job, error: Exception) -> None:
        """Writes the reason where the user reads it: into the version's status and its log."""
        vref = ModelVersionRef.parse(job.subject)
        version = version_rows.get(tx, vref)
        if version is None:
            return
        code = error.code if isinstance(error, TrainingStopped) else status_code_pb2.MODEL_TRAINING_FAILED
        reason = reason_of(error)
        log_rows.append(tx, vref, [f"Training failed: {reason}"])
        version.status.CopyFrom(status(code, reason))
        version_rows.update(tx, vref, version)

    def _data(self, run: Attempt, plan: Plan, base: Path | None) -> Data:
        from lehr.learn.data.dataset import build_data
        from lehr.learn.data.packs import Packs

        training_set = self._training_set(run, plan)
        return build_data(
            plan.template.data_order(plan.form, training_set.concept_ids, plan.closed_environment, base),
            training_set.items,
            packs=Packs(self.packs),
            decode=lambda data, side: self.decoders.decode(data, shorter_side=side),
            parallel=self.parallel_decodes,
            on_progress=run.packed,
        )

    def _training_set(self, run: Attempt, plan: Plan) -> TrainingSet:
        """What the first attempt found; it alone reads the app."""
        with self.db.read() as tx:
            sha = training_set_rows.get(tx, run.vref)
        if sha is not None:
            return unpacked(self.blobs.read(sha), Contents(blobs=self.blobs, decoders=self.decoders))
        reader = Reader(db=self.db, contents=Contents(blobs=self.blobs, decoders=self.decoders))
        concept_ids = plan.concept_ids or reader.all_concepts(plan.source.app)
        if not concept_ids:
            raise TrainingStopped("The model names no concept and the app has none: label some inputs first.")
        items = tuple(reader.read(plan.source, searches_of(run.job.payload)))
        found = TrainingSet(concept_ids=concept_ids, items=items)
        sha = self.blobs.put(packed(found))
        with self.db.write() as tx:
            self.queue.fence(tx, run.job)
            training_set_rows.put(tx, run.vref, sha)
        return found


def _wanted(request: service_pb2.PostModelVersionsRequest) -> resources_pb2.ModelVersion:
    """The one version asked for, with the request's data set; none at all inherits everything from the model."""
    if len(request.model_versions) > 1:
        raise InvalidModel(f"One version is trained at a time; {len(request.model_versions)} were given.")
    wanted = resources_pb2.ModelVersion()
    if request.model_versions:
        wanted.CopyFrom(request.model_versions[0])
    if request.HasField("dataset_version"):
        wanted.train_info.dataset.id = request.dataset_version.dataset_id
        wanted.train_info.dataset.version.id = request.dataset_version.id
    return wanted
