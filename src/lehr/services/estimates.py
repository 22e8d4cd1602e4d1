"""How long a training would take here, before it is asked for: counted items times measured seconds."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from lehr.errors import InvalidModel, InvalidParams, LehrError, NoTrainingData
from lehr.learn.data.order import MOST_ITEMS
from lehr.learn.data.split import HELD_OUT_SHARE
from lehr.learn.items import Item
from lehr.learn.pace import Work, seconds_of
from lehr.protocol import duration_pb2, resources_pb2, service_pb2
from lehr.protocol.ids import AppRef
from lehr.services.bases import Bases, folders_of
from lehr.services.models import found_model
from lehr.services.plans import Plan, inherited, plan_of
from lehr.services.probes import ProbeOrder, Probes
from lehr.services.training_contents import Contents
from lehr.services.training_data import Reader, check_source, num_items
from lehr.serving.decoders import DecoderPool
from lehr.store import concepts as concept_rows
from lehr.store import items as item_rows
from lehr.store.blobs import Blobs
from lehr.store.db import Database

_SAMPLED_ITEMS = 4
_PARALLEL_DECODES = 2
"""As a training decodes."""
_UNNAMED = ("one", "another")
"""Stand for the concepts of an app that has none yet."""


@dataclass(frozen=True, kw_only=True)
class _Question:
    """One training that might be asked for."""

    plan: Plan
    concepts: tuple[str, ...]
    num_items: int

    @property
    def num_train(self) -> int:
        return max(1, self.num_items - self.num_held_out)

    @property
    def num_held_out(self) -> int:
        return round(self.num_items * HELD_OUT_SHARE)


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a training would take."""

    duration: duration_pb2.Duration
    peak_bytes: int
    """Memory of its steps, beyond what the idle process takes."""


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """Needs the store, the decoders that a training would use, and probes of this machine."""

    db: Database
    blobs: Blobs
    bases: Bases
    decoders: DecoderPool
    probes: Probes

    def estimate(
        self,
        ref: AppRef,
        model_id: str,
        request: service_pb2.PostModelVersionsTrainingTimeEstimateRequest,
        *,
        confined: bool = False,
    ) -> list[Forecast]:
        """One forecast for each version of the request, in its order; without any, for what the model says.

        Checked as PostModelVersions checks, all problems of all versions at once: InvalidModel, InvalidParams,
        ModelNotFound, NotFound, Untrained, Loading. NoTrainingData where there is nothing to count. Also what probes
        raise. `confined`: models of the user's other apps are out of reach.
        """
        with self.db.read() as tx:
            questions = _questions(tx, ref, model_id, request)
        bases = [self.bases.of_plan(ref, question.plan, confined=confined) for question in questions]
        return [self._forecast(*pair) for pair in zip(questions, bases, strict=True)]

    def _forecast(self, question: _Question, bases: Mapping[str, str]) -> Forecast:
        plan, form = question.plan, question.plan.form
        folders = folders_of(bases, self.bases.bundles)
        work = _work(question)
        order = ProbeOrder(
            model_type=plan.template.model_type,
            template=plan.template.name,
            params=form.model_dump(mode="json", exclude_unset=True),
            concepts=question.concepts,
            num_items=work.num_items,
            batch_size=min(work.batch_size, work.num_items),
            base=str(folders.base or ""),
            earlier=str(folders.earlier or ""),
        )
        pace = self.probes.pace(order)
        side = plan.template.data_order(form, question.concepts, base=folders.base).image_size
        decode_seconds = self._decode_seconds(plan.source, side) or pace.decode_seconds
        work = replace(work, decode_seconds=decode_seconds / min(_PARALLEL_DECODES, os.cpu_count() or 1))
        return Forecast(duration=_duration(seconds_of(pace, work)), peak_bytes=pace.peak_bytes)

    def _decode_seconds(self, source: item_rows.Source, side: int) -> float | None:
        """Of one picture or frame, from the first few real ones; None where none could be read."""
        reader = Reader(db=self.db, contents=Contents(blobs=self.blobs, decoders=self.decoders))
        with closing(reader.read(source, {})) as items:
            sample = list(itertools.islice(items, _SAMPLED_ITEMS))
        seconds = sorted(self._timed(sample, side))
        return seconds[len(seconds) // 2] if seconds else None

    def _timed(self, items: Sequence[Item], side: int) -> Iterator[float]:
        for item in items:
            began = time.perf_counter()
            try:
                self.decoders.decode(item.read(), shorter_side=side)
            except LehrError:
                continue
            yield time.perf_counter() - began


def _work(question: _Question) -> Work:
    """What there is to do, but for the decoding. A form without epochs is of a head that is solved: one step of one
    item only measures it."""
    form = question.plan.form
    return Work(
        num_train=question.num_train,
        num_held_out=question.num_held_out,
        batch_size=getattr(form, "batch_size", 1),
        num_epochs=getattr(form, "num_epochs", 1),
        num_items_per_epoch=getattr(form, "num_items_per_epoch", 1),
        test_freq=getattr(form, "test_freq", 0),
    )


def _questions(
    tx: Connection, ref: AppRef, model_id: str, request: service_pb2.PostModelVersionsTrainingTimeEstimateRequest
) -> list[_Question]:
    model = found_model(tx, ref, model_id)
    wanted: list[resources_pb2.ModelVersion | None] = [*request.model_versions] or [None]
    plans, problems = [], []
    for number, version in enumerate(wanted):
        try:
            plan = plan_of(ref, model.model_type_id, inherited(model, version))
            check_source(tx, plan.source)
            plans.append(plan)
        except InvalidModel as error:
            if len(wanted) == 1:
                raise
            told = error.problems if isinstance(error, InvalidParams) else (error.details,)
            problems += [f"model_versions[{number}]: {problem}" for problem in told]
    if problems:
        raise InvalidParams(problems)
    return [_question(tx, plan, request.estimated_input_count) for plan in plans]


def _question(tx: Connection, plan: Plan, estimated_count: int) -> _Question:
    if estimated_count > MOST_ITEMS:
        raise InvalidModel(
            f"estimated_input_count is {estimated_count}; it must be at most {MOST_ITEMS}, or left out to count what "
            "is there."
        )
    count = estimated_count or num_items(tx, plan.source)
    if not count:
        raise NoTrainingData(
            "There are no processed inputs to train on yet: add some (a video counts by what is annotated on it), or "
            "say in estimated_input_count how many there will be."
        )
    concepts = plan.concept_ids or tuple(
        concept.id for concept in concept_rows.page(tx, plan.source.app, page=1, per_page=100_000)
    )
    return _Question(plan=plan, concepts=concepts or _UNNAMED, num_items=count)


def _duration(seconds: float) -> duration_pb2.Duration:
    """Whole seconds, at least one: more would promise more than was measured."""
    return duration_pb2.Duration(seconds=max(1, round(seconds)))
