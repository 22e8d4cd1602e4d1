"""One attempt at a training in the worker: what it reads first, says, saves and publishes.

Everything it writes is fenced by the job's token, so that a run that lost its lease can change nothing any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from lehr.errors import LehrError, ModelNotFound
from lehr.jobs.queue import Job
from lehr.jobs.runs import may_be_missing
from lehr.learn.curves import Curves
from lehr.protocol import status_code_pb2
from lehr.protocol.statuses import status
from lehr.services import eval_metrics
from lehr.services.evaluations import keep_first
from lehr.services.models import found_model
from lehr.services.plans import Plan, plan_of
from lehr.services.trained import describe_trained, note, sentence_of
from lehr.store import bundles as bundle_rows
from lehr.store import checkpoints as checkpoint_rows
from lehr.store import logs as log_rows
from lehr.store import training_points as point_rows
from lehr.store import versions as version_rows
from lehr.store.times import now
from lehr.store.versions import ModelVersionRef

if TYPE_CHECKING:
    from lehr.learn.bundle import AnyEvaluation, Bundle
    from lehr.learn.checkpoint import State
    from lehr.learn.data.dataset import Data
    from lehr.learn.events import EpochEnded, Event, Stepped
    from lehr.learn.items import Finding
    from lehr.learn.recipe import Recipe
    from lehr.services.training import Training

CHECKPOINT_SECONDS = 60.0
"""Between two checkpoints at most, in the middle of an epoch too."""
CHECKPOINT_SHARE = 0.05
"""Of a training's time may go into checkpoints at the ends of epochs: where epochs are short, not each has one."""
REPORT_SECONDS = 1.0
SHOWN = ("accuracy", "recall_at_1", "map_50")
"""Held-out figures in the status line."""


@dataclass(kw_only=True)
class Attempt:
    """One attempt at one job: what it says, saves and ends with. Mutable: it remembers when it last did what."""

    training: Training
    job: Job
    vref: ModelVersionRef
    last_report: float = 0.0
    last_checkpoint: float = field(default_factory=time.monotonic)
    seconds_per_checkpoint: float = 0.0
    """As long as the last one took."""
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
            begun = " again" if self.job.token > 1 else ""  # after a stop of the server, too, which is no attempt
            again = f" (attempt {self.job.attempt})" if self.job.attempt > 1 else begun
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

    def waits(self) -> None:
        """For its turn on a GPU; raises when the job is not ours any more."""
        self.report(lambda: "waiting until other steps have been measured on this GPU", percent=0)

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
                self._remember(event.metrics or {})
            if isinstance(event, EpochEnded | Stepped) and self._is_due(event):
                state = self._save(event)
        assert state is not None, "a training ends with an epoch"
        return state

    def _is_due(self, event: EpochEnded | Stepped) -> bool:
        """Whether there is to be a checkpoint now; always after the last epoch, before the long evaluation."""
        from lehr.learn.events import EpochEnded

        passed = time.monotonic() - self.last_checkpoint
        if passed >= CHECKPOINT_SECONDS or not isinstance(event, EpochEnded):
            return passed >= CHECKPOINT_SECONDS
        return event.epoch == event.num_epochs or passed * CHECKPOINT_SHARE >= self.seconds_per_checkpoint

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

    def _save(self, event: EpochEnded | Stepped) -> State:
        """A checkpoint: the blob first, then the row that points to it, so that a torn one is never read."""
        from lehr.learn.checkpoint import save

        self.last_checkpoint = time.monotonic()
        state = event.state()
        sha = self.training.blobs.put(save(state))
        unused: Sequence[str] = ()
        with may_be_missing("A checkpoint", self.job), self._writing() as tx:  # with the points that led to it
            checkpoint = checkpoint_rows.Checkpoint(sha=sha, step=event.step, token=self.job.token)
            unused = checkpoint_rows.add(tx, self.vref, checkpoint)
            self.training.queue.progressed(tx, self.job)
        for old in unused:
            self.training.blobs.delete(old, unless_put_within=0)
        self.seconds_per_checkpoint = time.monotonic() - self.last_checkpoint
        return state

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
                    "Inputs, labels or how they are divided have changed since the last checkpoint: the training "
                    "starts afresh with them."
                )
                return None
            self.say(f"Going on from the checkpoint at step {checkpoint.step:,}.")
            return state
        return None
