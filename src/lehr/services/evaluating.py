"""Evaluations as they are computed: the worker half of services/evaluations.py.

Runs in a process of its own (`lehr job ID`), which alone holds the job's lease. Every labelled item is decoded and
predicted as a client's picture would be. Begun again after a crash, it starts over: nothing is kept half done.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import Connection

from lehr.errors import (
    CannotEvaluate,
    LehrError,
    NeedsInputs,
    NeedsLabels,
    NoPositives,
    NotFound,
    NoTrainingData,
    TooLarge,
    UndecodableImage,
)
from lehr.jobs.queue import Job, Queue
from lehr.jobs.retry import sentence
from lehr.learn.data.boxes import boxed, boxes_of
from lehr.learn.data.decode import Decoded
from lehr.learn.data.order import DataOrder
from lehr.learn.items import Item
from lehr.learn.metrics.mean_average_precision import ImageBoxes
from lehr.protocol import resources_pb2, status_code_pb2, status_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.statuses import status
from lehr.services import eval_metrics
from lehr.services.bundles import Bundles
from lehr.services.evaluations import IS_KEPT_BACK, IS_OWN, found_evaluation, tell_version
from lehr.services.training_contents import Contents
from lehr.services.training_data import Reader, searches_of
from lehr.serving.decoders import DecoderPool
from lehr.store import evaluations as rows
from lehr.store.blobs import Blobs
from lehr.store.db import Database
from lehr.store.items import Source
from lehr.store.versions import ModelVersionRef

if TYPE_CHECKING:
    from lehr.learn.bundle import AnyEvaluation, Bundle
    from lehr.learn.predictor import AnyPredictor

BATCH = 32
REPORT_SECONDS = 1.0
SHOWN_IDS = 5
SEEN = (
    "The version was trained on this data, so most of these items it has seen before; the evaluation that its "
    "training made is of the items that it kept back alone."
)


@dataclass(frozen=True, kw_only=True)
class Evaluating:
    """The worker half. Needs the store, the blobs, trained bundles and decoder processes."""

    db: Database
    blobs: Blobs
    queue: Queue
    bundles: Bundles
    decoders: DecoderPool
    parallel_decodes: int = 2

    def run(self, job: Job) -> None:
        """Measures the version that the job names. Raises CannotEvaluate where that has no result."""
        from lehr.learn.predictor import Predictor

        run = _Run(evaluating=self, job=job, vref=ModelVersionRef.parse(job.subject))
        source = run.start()
        predictor = Predictor.load(self.bundles.folder_of(run.vref))
        reader = Reader(db=self.db, contents=Contents(blobs=self.blobs, decoders=self.decoders))
        known = list(reader.read(source, searches_of(job.payload)))
        if run.is_kept_back:
            known = _kept_back(known, predictor.bundle)
        measure = {"detections": _of_boxes, "embedding": _of_embedding}.get(predictor.output, _of_labels)
        run.finish(measure(run, predictor, known))

    def failed(self, tx: Connection, job: Job, error: Exception) -> None:
        """Writes the reason where the user reads it."""
        code = error.code if isinstance(error, CannotEvaluate) else status_code_pb2.MODEL_EVALUATION_FAILED
        vref = ModelVersionRef.parse(job.subject)
        metrics = rows.get(tx, vref.app, str(job.payload["evaluation"]))
        if metrics is None:
            return
        metrics.status.CopyFrom(status(code, sentence(error)))
        rows.update(tx, vref.app, metrics)
        if job.payload.get(IS_OWN):
            tell_version(tx, vref, metrics)

    def pictures(self, items: Iterable[Item], shorter_side: int) -> Iterator[tuple[Item, Decoded | LehrError]]:
        """Each item with its picture, or why it has none; a few are decoded ahead."""

        def decoded(item: Item) -> Decoded | LehrError:
            try:
                return self.decoders.decode(item.read(), shorter_side=shorter_side)
            except (UndecodableImage, TooLarge, NotFound) as error:
                return error

        ahead: deque[tuple[Item, Future[Decoded | LehrError]]] = deque()
        pool = ThreadPoolExecutor(self.parallel_decodes, "decode")
        try:
            for item in items:
                ahead.append((item, pool.submit(decoded, item)))
                if len(ahead) > BATCH:
                    first, picture = ahead.popleft()
                    yield first, picture.result()
            while ahead:
                first, picture = ahead.popleft()
                yield first, picture.result()
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(kw_only=True)
class _Run:
    """One attempt at one job. Mutable: it remembers when it last told how far it is, and what is worth saying."""

    evaluating: Evaluating
    job: Job
    vref: ModelVersionRef
    last_report: float = 0.0
    notes: tuple[str, ...] = ()
    sizes: list[tuple[int, int]] = field(default_factory=list)
    """Native heights and widths of the pictures that could be decoded."""

    @property
    def is_kept_back(self) -> bool:
        """Whether only the items count that the training kept back."""
        return bool(self.job.payload.get(IS_KEPT_BACK))

    def start(self) -> Source:
        """Marks the evaluation as begun; where its items come from."""
        with self.evaluating.db.write() as tx:
            metrics = self._told(tx, status(status_code_pb2.MODEL_EVALUATING, "reading the data"))
        dataset, trained_on = metrics.ground_truth_dataset, metrics.model.model_version.train_info.dataset
        app = AppRef(dataset.user_id, dataset.app_id)
        if not self.is_kept_back and app == self.vref.app and trained_on.id in ("", dataset.id):
            self.notes = (SEEN,)
        return Source(app=app, dataset_id=dataset.id, dataset_version_id=dataset.version.id)

    def predict(self, predictor: AnyPredictor, items: Sequence[Item]) -> tuple[list[Item], np.ndarray]:
        """The items that could be read, with their outputs, float32 [N, ...]. Raises NeedsInputs if none could."""
        good: list[Item] = []
        bad: list[Item] = []
        values: list[np.ndarray] = []
        pictures = self.evaluating.pictures(items, predictor.image_size)
        while batch := list(islice(pictures, BATCH)):
            readable = [(item, picture) for item, picture in batch if isinstance(picture, Decoded)]
            good += [item for item, _ in readable]
            bad += [item for item, picture in batch if not isinstance(picture, Decoded)]
            values += predictor.predict([picture.pixels for _, picture in readable])
            self.sizes += [(picture.height, picture.width) for _, picture in readable]
            self.report(len(good) + len(bad), len(items))
        if not good:
            raise NeedsInputs(f"None of {len(items)} labelled items could be decoded: {_ids(items)}.")
        if bad:
            self.notes += (f"{len(bad)} items could not be decoded and are left out: {_ids(bad)}.",)
        return good, np.stack(values)

    def report(self, done: int, total: int) -> None:
        """How far it is, at most once a second; raises when the job is not ours any more."""
        self.evaluating.queue.beat(self.job)
        if time.monotonic() - self.last_report < REPORT_SECONDS:
            return
        self.last_report = time.monotonic()
        words, percent = f"predicting: {done:,} of {total:,} items", 99 * done // total
        with self.evaluating.db.write() as tx:
            self._told(tx, status(status_code_pb2.MODEL_EVALUATING, words, percent_completed=percent))

    def _told(self, tx: Connection, so: status_pb2.Status) -> resources_pb2.EvalMetrics:
        """The evaluation with a new status. Fenced."""
        self.evaluating.queue.fence(tx, self.job)
        metrics = found_evaluation(tx, self.vref.app, str(self.job.payload["evaluation"]))
        metrics.status.CopyFrom(so)
        self._update(tx, metrics)
        return metrics

    def _update(self, tx: Connection, metrics: resources_pb2.EvalMetrics) -> None:
        rows.update(tx, self.vref.app, metrics)
        if self.job.payload.get(IS_OWN):
            tell_version(tx, self.vref, metrics)

    def finish(self, evaluation: AnyEvaluation) -> None:
        """Publishes the result: the blob first, then figures, status and the job's end in one transaction."""
        sha = self.evaluating.blobs.put(eval_metrics.pack(evaluation))
        with self.evaluating.db.write() as tx:
            self.evaluating.queue.fence(tx, self.job)
            metrics = found_evaluation(tx, self.vref.app, str(self.job.payload["evaluation"]))
            eval_metrics.describe(metrics, evaluation, self.notes)
            self._update(tx, metrics)
            rows.set_details(tx, self.vref.app, metrics.id, sha)
            self.evaluating.queue.finish(tx, self.job)


def _of_labels(run: _Run, predictor: AnyPredictor, known: Sequence[Item]) -> AnyEvaluation:
    """How well a classifier's probabilities agree with the items' labels."""
    from lehr.learn.metrics.classification import evaluation

    good, values_NK = run.predict(predictor, labelled(known, predictor.bundle))
    truth_NK = np.array([[concept in item.positives for concept in predictor.concepts] for item in good])
    return evaluation(predictor.concepts, [item.id for item in good], values_NK, truth_NK)


def _of_boxes(run: _Run, predictor: AnyPredictor, known: Sequence[Item]) -> AnyEvaluation:
    """How well a detector's boxes agree with the items'; items without any box count as background."""
    from lehr.learn.detection.found import pixels_of
    from lehr.learn.metrics.detection import Measured, detector_evaluation

    order = DataOrder(concepts=predictor.concepts, image_size=predictor.image_size, needs_boxes=True)
    try:
        taking_part = boxed(order, known)
    except NoTrainingData as error:
        raise NeedsInputs(error.details) from error
    except NoPositives as error:
        raise NeedsLabels(error.details) from error
    run.notes += tuple(finding.text for finding in taking_part.findings)
    good, values_N = run.predict(predictor, taking_part.items)
    measured = []
    for item, rows_, size in zip(good, values_N, run.sizes, strict=True):
        drawn = boxes_of(order, item)
        truth = ImageBoxes(boxes=drawn.pixels(*size), classes=drawn.classes)
        measured.append(Measured(item_id=item.id, size=size, truth=truth, found=pixels_of(rows_, size)))
    return detector_evaluation(predictor.concepts, measured)


def _of_embedding(run: _Run, predictor: AnyPredictor, known: Sequence[Item]) -> AnyEvaluation:
    """What the items find among one another, of whatever concepts they carry: learned ones and others."""
    from lehr.learn.embedding_evaluating import evaluation_of_items

    carrying = [item for item in known if item.positives]
    if not carrying:
        raise NeedsLabels(
            f"None of {len(known)} items carries a concept, so it is not known which of them are alike: label some."
        )
    good, vectors = run.predict(predictor, carrying)
    return evaluation_of_items(
        [item.positives for item in good], vectors, _learned(predictor.bundle), [item.id for item in good]
    )


def _learned(bundle: Bundle) -> frozenset[str]:
    """The concepts that a bundle's training has seen."""
    from lehr.learn.bundle import read_evaluation

    return frozenset(bundle.concepts) - frozenset(getattr(read_evaluation(bundle.folder), "unseen_concepts", ()))


def labelled(items: Sequence[Item], bundle: Bundle) -> list[Item]:
    """The items that can tell right from wrong: those with any label, and under softmax with one of the model's own.

    Raises NeedsInputs without items, NeedsLabels when none carries a concept of the model.
    """
    if not items:
        raise NeedsInputs("There are no processed inputs to evaluate on: add inputs, or choose another dataset.")
    concepts = frozenset(bundle.concepts)
    positive = [item for item in items if item.positives & concepts]
    if not positive:
        carried = sorted({concept for item in items for concept in item.positives})
        raise NeedsLabels(
            f"None of {len(items)} items carries a concept of the model ({_few(bundle.concepts)}); "
            f"they carry {_few(carried) if carried else 'none at all'}. Label some with value 1."
        )
    is_exclusive = bundle.details["activation"] == "softmax"
    return positive if is_exclusive else [item for item in items if item.positives or item.negatives]


def _kept_back(items: Sequence[Item], bundle: Bundle) -> list[Item]:
    """Those that the training did not train on, as far as they are still there."""
    from lehr.learn.bundle import read_evaluation

    first = read_evaluation(bundle.folder)
    if first is None:
        raise NeedsInputs("The training kept no items back: give a test_search, or evaluate on a dataset.")
    ids = set(first.item_ids)
    return [item for item in items if item.id in ids]


def _ids(items: Sequence[Item]) -> str:
    return _few([item.id for item in items])


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN_IDS]) + (", …" if len(names) > SHOWN_IDS else "")
