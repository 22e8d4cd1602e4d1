"""Evaluations as clients ask for them and read them: how well a trained version does on labelled data.

A training leaves one behind, made on the items that it kept back. Others are put into the queue here and computed by
services/evaluating.py, in a process of its own.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from lehr.errors import Duplicate, InvalidModel, InvalidRequest, NotFound, Untrained
from lehr.jobs.queue import Queue
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef, checked_id, new_id
from lehr.protocol.statuses import status
from lehr.services import eval_metrics
from lehr.services.batches import chunks
from lehr.services.media import shown
from lehr.services.models import found_model, found_version
from lehr.services.paging import Paging
from lehr.services.plans import source_of
from lehr.services.selection import checked_search
from lehr.services.training_data import TRAIN, named_frame
from lehr.store import concepts as concept_rows
from lehr.store import dataset_versions, datasets
from lehr.store import evaluations as rows
from lehr.store import inputs as input_rows
from lehr.store import versions as version_rows
from lehr.store.blobs import Blobs
from lehr.store.db import Database
from lehr.store.evaluations import MOVES, EvaluationFilter, Order, state_of
from lehr.store.versions import ModelVersionRef

if TYPE_CHECKING:
    from lehr.learn.bundle import AnyEvaluation

KIND = "evaluate"
"""Of the job: its subject is the version, so that deleting that cancels it; its payload names the evaluation."""
IS_OWN = "is_own"
"""In the payload: the result becomes the version's own metrics."""
IS_KEPT_BACK = "is_kept_back"
"""In the payload: only the items that the training kept back count."""
MAX_ORDERS = 128
EVALUATED = ("classifier", "detector", "embedder")
"""How the names of the model types end that can be."""
ME = "me"


@dataclass(frozen=True, kw_only=True)
class Evaluations:
    """The request half, and all reading. Needs the store, the blobs and the queue."""

    db: Database
    blobs: Blobs
    queue: Queue

    def request(
        self, ref: AppRef, orders: Sequence[resources_pb2.EvalMetrics], *, is_confined: bool = False
    ) -> list[resources_pb2.EvalMetrics]:
        """Puts evaluations into the queue, all or none. `is_confined`: datasets of other apps are out of reach.

        An id that is taken by an ended evaluation of the same version is used again: the new one replaces it.
        Raises InvalidRequest, ModelNotFound, NotFound, Untrained, Duplicate.
        """
        if not 1 <= len(orders) <= MAX_ORDERS:
            raise InvalidRequest(f"A request carries 1 to {MAX_ORDERS} eval_metrics; this one has {len(orders)}.")
        with self.db.write() as tx:
            return [self._queued(tx, ref, order, is_confined=is_confined) for order in orders]

    def request_metrics(
        self, vref: ModelVersionRef, test_search: resources_pb2.Search, eval_info: resources_pb2.EvalInfo
    ) -> resources_pb2.ModelVersion:
        """Puts an evaluation into the queue whose result becomes the version's own metrics."""
        order = resources_pb2.EvalMetrics(model=_named(vref), eval_info=eval_info)
        payload: dict[str, object] = {IS_OWN: True}
        if test_search.ListFields():
            checked_search(test_search, "test_search")
            payload[TRAIN] = base64.b64encode(test_search.SerializeToString()).decode()
        else:
            payload[IS_KEPT_BACK] = True
        with self.db.write() as tx:
            metrics = self._queued(tx, vref.app, order, payload)
            return tell_version(tx, vref, metrics)

    def _queued(
        self,
        tx: Connection,
        ref: AppRef,
        order: resources_pb2.EvalMetrics,
        payload: Mapping[str, object] = MappingProxyType({}),
        *,
        is_confined: bool = False,
    ) -> resources_pb2.EvalMetrics:
        if order.HasField("predictions_dataset"):
            raise InvalidRequest("predictions_dataset is not offered: an evaluation predicts by itself. Leave it out.")
        vref = _version_meant(tx, ref, order.model)
        version = _trained(tx, vref)
        metrics = _new(tx, vref, version, order.id)
        metrics.status.CopyFrom(status(status_code_pb2.MODEL_QUEUED_FOR_EVALUATION))
        if order.ground_truth_dataset.id:
            metrics.ground_truth_dataset.CopyFrom(_dataset_meant(tx, ref, order.ground_truth_dataset, is_confined))
        for field in ("eval_info", "extended_metrics"):
            if order.HasField(field):
                getattr(metrics, field).CopyFrom(getattr(order, field))
        _make_way(tx, vref, metrics.id)
        rows.insert(tx, vref, metrics, concept_ids=_concepts_of(version))
        self.queue.add(tx, KIND, {"evaluation": metrics.id, **payload}, str(vref))
        return metrics

    def get(
        self, ref: AppRef, evaluation_id: str, fields: resources_pb2.FieldsValue, base_url: str
    ) -> resources_pb2.EvalMetrics:
        """One evaluation with the parts asked for; the inputs of its test set as they are now. Raises NotFound."""
        with self.db.read() as tx:
            metrics = found_evaluation(tx, ref, evaluation_id)
            sha = rows.details_sha(tx, ref, evaluation_id)
        if not sha or not any(is_wanted for _, is_wanted in fields.ListFields()):
            return metrics
        parts = eval_metrics.unpacked(self.blobs.read(sha))
        eval_metrics.keep(parts, fields)
        with self.db.read() as tx:
            eval_metrics.name_concepts(parts, _names(tx, ref, parts))
            _show_inputs(tx, metrics, parts, base_url)
        metrics.MergeFrom(parts)
        return metrics

    def check_version(self, vref: ModelVersionRef, evaluation_id: str) -> None:
        """Raises NotFound unless the evaluation is one of this version."""
        with self.db.read() as tx:
            if not _is_of(found_evaluation(tx, vref.app, evaluation_id), vref):
                raise NotFound(f"Version {vref.version_id!r} has no evaluation {evaluation_id!r}.")

    def list_of(
        self, owner: AppRef | str, paging: Paging, filters: EvaluationFilter, order: Order
    ) -> list[resources_pb2.EvalMetrics]:
        """A page of the evaluations of an app, or of all apps of a user id."""
        with self.db.read() as tx:
            if isinstance(owner, AppRef):
                return rows.page(tx, owner, **paging._asdict(), filters=filters, order=order)
            return rows.page_of_user(tx, owner, **paging._asdict(), filters=filters, order=order)

    def list_of_version(self, vref: ModelVersionRef, paging: Paging) -> list[resources_pb2.EvalMetrics]:
        """A page of the version's evaluations, newest first. Raises ModelNotFound."""
        with self.db.read() as tx:
            found_version(tx, vref.app, vref.model_id, vref.version_id)
            return rows.of_version(tx, vref, **paging._asdict())

    def metrics_of(
        self, vref: ModelVersionRef, fields: resources_pb2.FieldsValue, base_url: str
    ) -> resources_pb2.ModelVersion:
        """The version with its own metrics and the parts asked for. Raises ModelNotFound."""
        with self.db.read() as tx:
            version = found_version(tx, vref.app, vref.model_id, vref.version_id)
            is_kept = bool(version.metrics.id) and rows.get(tx, vref.app, version.metrics.id) is not None
        if is_kept:
            version.metrics.CopyFrom(self.get(vref.app, version.metrics.id, fields, base_url))
        elif not version.HasField("metrics"):
            version.metrics.status.CopyFrom(status(status_code_pb2.MODEL_NOT_EVALUATED))
        return version


def keep_first(
    tx: Connection,
    vref: ModelVersionRef,
    version: resources_pb2.ModelVersion,
    evaluation: AnyEvaluation,
    details_sha: str,
) -> None:
    """Keeps what a training measured on the items that it kept back as the version's first evaluation.

    `details_sha` is the blob of `eval_metrics.pack`. The version's `metrics`, in place, learn the evaluation's id.
    """
    metrics = _new(tx, vref, version)
    eval_metrics.describe(metrics, evaluation, ["Measured on the items that the training kept back."])
    rows.insert(tx, vref, metrics, details_sha=details_sha, concept_ids=_concepts_of(version))
    version.metrics.id = metrics.id


def found_evaluation(tx: Connection, ref: AppRef, evaluation_id: str) -> resources_pb2.EvalMetrics:
    """The evaluation without its bulky parts. Raises NotFound."""
    metrics = rows.get(tx, ref, evaluation_id)
    if metrics is None:
        raise NotFound(f"There is no evaluation {evaluation_id!r} in app {ref.app_id!r}.")
    return metrics


def tell_version(
    tx: Connection, vref: ModelVersionRef, metrics: resources_pb2.EvalMetrics
) -> resources_pb2.ModelVersion:
    """Makes an evaluation the version's own metrics: which it is, how it stands, and its summary."""
    version = found_version(tx, vref.app, vref.model_id, vref.version_id)
    own = resources_pb2.EvalMetrics(id=metrics.id, status=metrics.status, summary=metrics.summary)
    version.metrics.CopyFrom(own)
    version_rows.update(tx, vref, version)
    return version


def _new(
    tx: Connection, vref: ModelVersionRef, version: resources_pb2.ModelVersion, evaluation_id: str = ""
) -> resources_pb2.EvalMetrics:
    """An evaluation of the version on the data of its training, without a status yet."""
    model = found_model(tx, vref.app, vref.model_id)
    source = source_of(vref.app, model.model_type_id, version)
    metrics = resources_pb2.EvalMetrics(
        id=checked_id(evaluation_id, "Evaluation") if evaluation_id else new_id(),
        user_id=vref.app.user_id,
        app_id=vref.app.app_id,
        model=_named(vref),
        ground_truth_dataset=resources_pb2.Dataset(
            id=source.dataset_id, app_id=source.app.app_id, user_id=source.app.user_id
        ),
    )
    if source.dataset_version_id:
        metrics.ground_truth_dataset.version.id = source.dataset_version_id
    metrics.model.name, metrics.model.model_type_id = model.name, model.model_type_id
    metrics.model.model_version.created_at.CopyFrom(version.created_at)
    metrics.model.model_version.train_info.dataset.CopyFrom(metrics.ground_truth_dataset)
    return metrics


def _named(vref: ModelVersionRef) -> resources_pb2.Model:
    """The model by its ids."""
    owner = {"app_id": vref.app.app_id, "user_id": vref.app.user_id}
    version = resources_pb2.ModelVersion(id=vref.version_id, **owner)
    return resources_pb2.Model(id=vref.model_id, model_version=version, **owner)


def _concepts_of(version: resources_pb2.ModelVersion) -> list[str]:
    """What the version tells apart, by ids."""
    return [concept.id for concept in version.output_info.data.concepts]


def _version_meant(tx: Connection, ref: AppRef, model: resources_pb2.Model) -> ModelVersionRef:
    """The version that an order names: of a model of the app, and its newest trained one unless it says which."""
    if not model.id:
        raise InvalidModel("eval_metrics.model.id is empty: name the model to evaluate.")
    owner = AppRef(_own(model.user_id, ref.user_id), model.app_id or ref.app_id)
    if owner != ref:
        raise InvalidRequest(
            f"The model is of app {owner.app_id!r} of user {owner.user_id!r}, the request of app {ref.app_id!r} of "
            f"user {ref.user_id!r}: send the request to the model's app."
        )
    if model.model_version.id:
        return ModelVersionRef(ref, model.id, model.model_version.id)
    found_model(tx, ref, model.id)
    newest = version_rows.latest_trained(tx, ref, [model.id]).get(model.id)
    if newest is None:
        raise Untrained(f"Model {model.id!r} has no trained version yet.")
    return ModelVersionRef(ref, model.id, newest.id)


def _trained(tx: Connection, vref: ModelVersionRef) -> resources_pb2.ModelVersion:
    """The version, if it is trained and of a type that can be evaluated."""
    model = found_model(tx, vref.app, vref.model_id)
    version = found_version(tx, vref.app, vref.model_id, vref.version_id)
    if not model.model_type_id.endswith(EVALUATED):
        raise InvalidModel(
            f"Models of type {model.model_type_id} are not evaluated: only classifiers, detectors and embedders are."
        )
    if version.status.code != status_code_pb2.MODEL_TRAINED:
        raise Untrained(
            f"Version {vref.version_id!r} of model {vref.model_id!r} cannot be evaluated: its status is "
            f"{version.status.code} ({version.status.description})."
        )
    return version


def _dataset_meant(
    tx: Connection, ref: AppRef, wanted: resources_pb2.Dataset, is_confined: bool
) -> resources_pb2.Dataset:
    """The dataset that an order names, of the model's app or of another one of the same user. Raises NotFound."""
    owner = AppRef(_own(wanted.user_id, ref.user_id), wanted.app_id or ref.app_id)
    is_reachable = owner == ref or (owner.user_id == ref.user_id and not is_confined)
    if not is_reachable or datasets.get(tx, owner, wanted.id) is None:
        raise NotFound(f"There is no dataset {wanted.id!r} in app {owner.app_id!r}.")
    version_id = wanted.version.id
    if version_id and dataset_versions.get(tx, owner, wanted.id, version_id) is None:
        raise NotFound(f"Dataset {wanted.id!r} has no version {version_id!r}.")
    dataset = resources_pb2.Dataset(id=wanted.id, app_id=owner.app_id, user_id=owner.user_id)
    if version_id:
        dataset.version.id = version_id
    return dataset


def _own(user_id: str, caller: str) -> str:
    return caller if user_id in ("", ME) else user_id


def _make_way(tx: Connection, vref: ModelVersionRef, evaluation_id: str) -> None:
    """Removes the ended evaluation that has the id of a new one. Raises Duplicate if that is not ended or not ours."""
    old = rows.get(tx, vref.app, evaluation_id)
    if old is None:
        return
    if not _is_of(old, vref):
        raise Duplicate(f"Evaluation {evaluation_id!r} already exists, of another model version: choose another id.")
    if MOVES[state_of(old.status.code)]:
        raise Duplicate(f"Evaluation {evaluation_id!r} already exists and is not done yet: wait, or choose another id.")
    rows.delete(tx, vref.app, [evaluation_id])


def _is_of(metrics: resources_pb2.EvalMetrics, vref: ModelVersionRef) -> bool:
    return (metrics.model.id, metrics.model.model_version.id) == (vref.model_id, vref.version_id)


def _names(tx: Connection, ref: AppRef, metrics: resources_pb2.EvalMetrics) -> dict[str, str]:
    """Concept id to name."""
    names: dict[str, str] = {}
    for ids in chunks(sorted({concept.id for concept in eval_metrics.concepts_in(metrics)})):
        names.update((key, concept.name) for key, concept in concept_rows.get_many(tx, ref, ids).items())
    return names


def _show_inputs(
    tx: Connection, metrics: resources_pb2.EvalMetrics, parts: resources_pb2.EvalMetrics, base: str
) -> None:
    """Fills in the inputs of a test set as clients see them; one that is gone keeps its id alone.

    What was evaluated is the whole input, or the one frame of a video that is then named in it.
    """
    ref = AppRef(metrics.ground_truth_dataset.user_id, metrics.ground_truth_dataset.app_id)
    for entries in chunks(parts.test_set):
        parted = [named_frame(entry.input.id) for entry in entries]
        stored = input_rows.get_many(tx, ref, [input_id for input_id, _ in parted])
        for entry, (input_id, frame) in zip(entries, parted, strict=True):
            entry.input.id = input_id
            if input_id in stored:
                entry.input.CopyFrom(shown(stored[input_id], ref, base))
            if frame is not None:
                entry.input.data.frames.add(frame_info=frame)
