"""Training: the request half puts a version into the queue, the worker half trains it.

The worker half runs in a process of its own (`lehr job ID`), which alone holds the job's lease. Everything it writes is
fenced by the job's token, so that a run that lost its lease can change nothing any more.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from lehr.errors import InvalidModel, LehrError, ModelNotFound, TrainingStopped
from lehr.jobs.queue import Job, Queue
from lehr.jobs.runs import may_be_missing
from lehr.learn.curves import Curves
from lehr.protocol import resources_pb2, service_pb2, status_code_pb2
from lehr.protocol.ids import AppRef, checked_id, new_id
from lehr.protocol.statuses import status
from lehr.services import eval_metrics
from lehr.services.bases import folders_of, payload_of_bases
from lehr.services.bundles import Bundles
from lehr.services.clustering import order_clusters
from lehr.services.concepts import ensure_concepts
from lehr.services.evaluations import keep_first
from lehr.services.model_types import is_trainable
from lehr.services.models import found_model, with_version
from lehr.services.operator_types import is_operator, settle
from lehr.services.plans import Plan, inherited, plan_of
from lehr.services.trained import describe_trained, note, reason_of, sentence_of
from lehr.services.training_contents import Contents
from lehr.services.training_data import Reader, check_source, payload_of, searches_of
from lehr.services.training_sets import TrainingSet, packed, unpacked
from lehr.serving.decoders import DecoderPool
from lehr.store import bundles as bundle_rows
from lehr.store import checkpoints as checkpoint_rows
from lehr.store import logs as log_rows
from lehr.store import training_points as point_rows
from lehr.store import training_sets as training_set_rows
from lehr.store import versions as version_rows
from lehr.store.blobs import Blobs
from lehr.store.db import Database
from lehr.store.times import now
from lehr.store.versions import ModelVersionRef

if TYPE_CHECKING:
    from lehr.learn.bundle import AnyEvaluation, Bundle
    from lehr.learn.checkpoint import State
    from lehr.learn.data.dataset import Data
    from lehr.learn.events import Event
    from lehr.learn.items import Finding
    from lehr.learn.recipe import Recipe

KIND = "train"
CHECKPOINT_SECONDS = 60.0
REPORT_SECONDS = 1.0
SHOWN = ("accuracy", "recall_at_1", "map_50")
"""Held-out figures in the status line."""


@dataclass(frozen=True, kw_only=True)
class Orders:
    """The request half. Needs the store and the queue."""

    db: Database
    queue: Queue

    def request(self, ref: AppRef, model_id: str, request: service_pb2.PostModelVersionsRequest) -> resources_pb2.Model:
        """Makes a version and puts its training into the queue, in one transaction.

        What the request leaves out comes from the model. Raises InvalidModel, InvalidParams, ModelNotFound, NotFound.
        """
        wanted = _only_version(request)
        with self.db.write() as tx:
            model = found_model(tx, ref, model_id)
            version = inherited(model, wanted)
            version.id = checked_id(version.id, "Model version", refuse=InvalidModel) if version.id else new_id()
            version.app_id, version.user_id = ref.app_id, ref.user_id
            version.description = version.description or request.description
            if request.HasField("dataset_version"):
                version.train_info.dataset.id = request.dataset_version.dataset_id
                version.train_info.dataset.version.id = request.dataset_version.id
            if not is_trainable(model.model_type_id):
                return self._without_template(tx, model, version)
            plan = plan_of(ref, model.model_type_id, version)
            check_source(tx, plan.source)
            bases = payload_of_bases(tx, ref, plan)
            ensure_concepts(tx, ref, version.output_info.data.concepts)
            version.status.CopyFrom(status(status_code_pb2.MODEL_QUEUED_FOR_TRAINING, "; ".join(plan.notices)))
            if plan.notices:
                note(version, (), plan.notices)
            version_rows.insert(tx, ref, model_id, version)
            vref = ModelVersionRef(ref, model_id, version.id)
            self.queue.add(tx, KIND, payload_of(request) | bases, str(vref))
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

        run = _Run(training=self, job=job, vref=ModelVersionRef.parse(job.subject))
        plan = run.start()
        folders = folders_of(job.payload, self.bundles)
        check_weights(plan.base, folders.base or folders.earlier, self.weights)
        data = self._data(run, plan, folders.base)
        run.note(data.findings)
        problem = replace(data.problem(choose_device(), self.weights), base=folders.base, earlier=folders.earlier)
        checkpoint = run.checkpoint(data)
        precision = Precision(choice=self.precision, folder=self.packs.parent / "precision")
        recipe = plan.template.recipe(plan.form, problem)
        with training_on(problem.device, self.packs.parent / "gpus"), explained(recipe):
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

    def _data(self, run: _Run, plan: Plan, base: Path | None) -> Data:
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

    def _training_set(self, run: _Run, plan: Plan) -> TrainingSet:
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


@dataclass(kw_only=True)
class _Run:
    """One attempt at one job: what it says, saves and ends with. Mutable: it remembers when it last did what."""

    training: Training
    job: Job
    vref: ModelVersionRef
    last_report: float = 0.0
    last_checkpoint: float = field(default_factory=time.monotonic)
    unsaid: list[str] = field(default_factory=list)
    curves: Curves = field(default_factory=Curves)
    held_out: str = ""
    """The last figures on the held-out part, for the status line."""
    notices: tuple[str, ...] = ()
    """What there is to say of the order."""
    noted: frozenset[str] = frozenset()
    """Findings that are in the log."""

    def start(self) -> Plan:
        """Marks the version as training and reads what it asks for."""
        with self.training.db.write() as tx:
            self.training.queue.fence(tx, self.job)
            model = found_model(tx, self.vref.app, self.vref.model_id)
            version = version_rows.get(tx, self.vref)
            if version is None:
                raise ModelNotFound(f"version {self.vref.version_id!r} was deleted")
            plan = plan_of(self.vref.app, model.model_type_id, version)
            version_rows.set_status(tx, self.vref, status(status_code_pb2.MODEL_TRAINING, "reading the data"))
            self.notices = plan.notices
            again = f" (attempt {self.job.attempt})" if self.job.attempt > 1 else ""
            first = f"Training {plan.template.name}{again}: {plan.form!r}"
            log_rows.append(tx, self.vref, [first] if again else [first, *plan.notices])
        return plan

    def note(self, findings: Sequence[Finding]) -> None:
        """Writes what was noticed of the data into the version, and into the log what no earlier attempt has."""
        with self._writing() as tx:
            version = version_rows.get(tx, self.vref)
            assert version is not None, "the fence holds only while the version is there"
            log_rows.append(tx, self.vref, note(version, findings, self.notices))
            version_rows.update(tx, self.vref, version)
        self.noted = frozenset(finding.text for finding in findings)

    def packed(self, done: int, total: int) -> None:
        """Progress of decoding; raises when the job is not ours any more."""
        self.report(lambda: f"preparing images: {done:,} of {total:,}", percent=0)

    def tried(self, done: int, total: int) -> None:
        """Progress of finding out how to compute."""
        self.report(lambda: f"measuring which precision is faster here: step {done} of {total}", percent=0)

    def train(self, recipe: Recipe, data: Data, state: State | None) -> State:
        """Runs the loop to its end, from `state` if there is one; returns the last state."""
        from lehr.learn.events import EpochEnded, Stepped
        from lehr.learn.loop import train
        from lehr.learn.progress import Progress

        progress = Progress()
        self._forget_curves(state)
        for event in train(recipe, data, resume=state):
            line = progress.update(event)
            self.curves.update(event)
            self.say(*([line.text] if line.text and line.text not in self.noted else ()))
            self.report(partial(self._details, event), percent=line.percent, seconds_left=line.seconds_left)
            if isinstance(event, EpochEnded):
                state = event.state()
                self._save(state, event.step)
                self._remember(event.metrics or {})
            elif isinstance(event, Stepped) and time.monotonic() - self.last_checkpoint > CHECKPOINT_SECONDS:
                self._save(event.state(), event.step)
        assert state is not None, "a training ends with an epoch"
        return state

    def _remember(self, metrics: Mapping[str, float]) -> None:
        self.held_out = "".join(f", held-out {name} {metrics[name]:.4f}" for name in SHOWN if name in metrics)

    def _details(self, event: Event) -> str:
        """The status line: where the run is, and the last figures on the held-out part."""
        from lehr.learn.events import EpochEnded, Noted, Preparing

        if isinstance(event, Preparing):
            return f"{event.stage}: {event.done:,} of {event.total:,}"
        if isinstance(event, Noted):
            return event.text
        loss = event.train_loss if isinstance(event, EpochEnded) else event.loss
        return f"epoch {event.epoch} of {event.num_epochs}, loss {loss:.4f}{self.held_out}"

    def say(self, *lines: str) -> None:
        """Lines for the training log; written with the next report."""
        self.unsaid.extend(lines)

    def enter(self, stage: str) -> None:
        """A stage after the last step, which may be long: told at once."""
        self.last_report = 0.0
        self.report(lambda: stage, percent=99)

    def report(self, details: Callable[[], str], *, percent: int, seconds_left: int | None = None) -> None:
        """Writes status and log, at most once a second; raises LeaseLost, Cancelled or Interrupted.

        `details` is called only when it is written: reading a loss makes a GPU wait.
        """
        self.training.queue.beat(self.job)
        if time.monotonic() - self.last_report < REPORT_SECONDS:
            return
        self.last_report = time.monotonic()
        shown = status(
            status_code_pb2.MODEL_TRAINING, details(), percent_completed=percent, time_remaining=seconds_left or 0
        )
        with may_be_missing("The status", self.job), self._writing() as tx:
            version_rows.set_status(tx, self.vref, shown)

    def finish(self, bundle: Bundle, evaluation: AnyEvaluation | None, data: Data) -> None:
        """Publishes the trained version: bundle, evaluation, status and the job's end in one transaction."""
        sha, size = self.training.bundles.pack(bundle.folder)
        details = self.training.blobs.put(eval_metrics.pack(evaluation)) if evaluation else ""
        self.say(sentence_of(evaluation))
        with self._writing() as tx:
            version = version_rows.get(tx, self.vref)
            assert version is not None, "the fence holds only while the version is there"
            describe_trained(version, bundle, evaluation, data, self.notices)
            if evaluation:
                keep_first(tx, self.vref, version, evaluation, details)
            version.completed_at.CopyFrom(now())
            done = status(status_code_pb2.MODEL_TRAINED, "; ".join(self.notices), percent_completed=100)
            version.status.CopyFrom(done)
            bundle_rows.put(tx, self.vref, bundle_rows.Bundle(sha=sha, size=size))
            version_rows.update(tx, self.vref, version)
            unused = checkpoint_rows.delete(tx, self.vref)
            self.training.queue.finish(tx, self.job)
        for checkpoint in unused:
            self.training.blobs.delete(checkpoint, unless_put_within=3600)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A fenced transaction, with what was said and measured until now; where it fails that is left for the next."""
        lines, points, self.unsaid = self.unsaid, self.curves.take(), []
        try:
            with self.training.db.write() as tx:
                self.training.queue.fence(tx, self.job)
                point_rows.append(tx, self.vref, points)
                if lines:
                    log_rows.append(tx, self.vref, lines)
                yield tx
        except BaseException:
            self.unsaid[:0] = lines
            self.curves.give_back(points)
            raise

    def _forget_curves(self, state: State | None) -> None:
        """What an earlier attempt measured after the checkpoint is measured again."""
        with self.training.db.write() as tx:
            self.training.queue.fence(tx, self.job)
            point_rows.forget_after(tx, self.vref, state.facts["step"] if state else 0)

    def _save(self, state: State, step: int) -> None:
        """A checkpoint: the blob first, then the row that points to it, so that a torn one is never read."""
        from lehr.learn.checkpoint import save

        self.last_checkpoint = time.monotonic()
        sha = self.training.blobs.put(save(state))
        unused: Sequence[str] = ()
        with may_be_missing("A checkpoint", self.job), self._writing() as tx:  # with the points that led to it
            checkpoint = checkpoint_rows.Checkpoint(sha=sha, step=step, token=self.job.token)
            unused = checkpoint_rows.add(tx, self.vref, checkpoint)
            self.training.queue.progressed(tx, self.job)
        for old in unused:
            self.training.blobs.delete(old, unless_put_within=0)

    def checkpoint(self, data: Data) -> State | None:
        """The newest checkpoint that reads well; none if inputs or labels have changed since it was made."""
        from lehr.learn.checkpoint import load

        with self.training.db.read() as tx:
            known = checkpoint_rows.newest(tx, self.vref)
        for checkpoint in known:
            try:
                state = load(self.training.blobs.read(checkpoint.sha))
            except LehrError as error:
                self.say(f"A checkpoint could not be read and was passed over: {error.details}")
                continue
            if state.facts["data"] != data.fingerprint:
                self.say(
                    "Inputs or labels have changed since the last checkpoint: the training starts afresh with them."
                )
                return None
            self.say(f"Going on from the checkpoint at step {checkpoint.step:,}.")
            return state
        return None


def _only_version(request: service_pb2.PostModelVersionsRequest) -> resources_pb2.ModelVersion | None:
    """The one version asked for; none at all inherits everything from the model."""
    if len(request.model_versions) > 1:
        raise InvalidModel(f"One version is trained at a time; {len(request.model_versions)} were given.")
    return request.model_versions[0] if request.model_versions else None
