"""Evaluations of model versions: what was measured, on which data. The bulky parts are a blob, named by the row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy import ColumnElement, Connection, ScalarSelect, select
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update

from lehr.errors import InvalidRequest, NotFound
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.store.rows import Noun, app_key, app_key_of
from lehr.store.tables import apps, evaluation_concepts, model_versions, models
from lehr.store.tables import evaluations as table
from lehr.store.versions import ModelVersionRef, key_of

__all__ = [
    "MOVES",
    "SORTS",
    "EvaluationFilter",
    "Order",
    "State",
    "delete",
    "details_sha",
    "get",
    "insert",
    "of_version",
    "page",
    "page_of_user",
    "set_details",
    "state_of",
    "update",
]


class State(Enum):
    """Where an evaluation stands; the value is its usual status code."""

    QUEUED = status_code_pb2.MODEL_QUEUED_FOR_EVALUATION
    EVALUATING = status_code_pb2.MODEL_EVALUATING
    EVALUATED = status_code_pb2.MODEL_EVALUATED
    FAILED = status_code_pb2.MODEL_EVALUATION_FAILED


MOVES: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.EVALUATING, State.FAILED}),
    State.EVALUATING: frozenset({State.EVALUATED, State.FAILED}),
    State.EVALUATED: frozenset(),
    State.FAILED: frozenset(),
}
"""From each state, those it may move to. Staying where it is (percent done) is always allowed."""

_FAILURES = range(
    status_code_pb2.MODEL_EVALUATION_TIMED_OUT, status_code_pb2.MODEL_EVALUATION_FAILED + 1
)  # 21310 … 21317


def state_of(status_code: int) -> State:
    """The state that a status code stands for. Raises InvalidRequest for a code that is none of an evaluation."""
    if status_code in _FAILURES:
        return State.FAILED
    try:
        return State(status_code)
    except ValueError as error:
        codes = ", ".join(f"{state.value} ({state.name})" for state in State)
        raise InvalidRequest(f"status code {status_code} is none of an evaluation; there are {codes}") from error


@dataclass(frozen=True, kw_only=True)
class EvaluationFilter:
    """Which evaluations; an empty field means any. Several ids are alternatives."""

    model_type_id: str = ""
    eval_dataset_ids: tuple[str, ...] = ()
    train_dataset_ids: tuple[str, ...] = ()
    concept_ids: tuple[str, ...] = ()
    """Of which it measures at least one."""
    with_failed: bool = False


SORTS = {
    "created_at": table.c.key,
    "app_id": select(apps.c.id).where(apps.c.key == table.c.app_key).scalar_subquery(),
    "model_id": table.c.model_id,
    "eval_dataset_id": table.c.eval_dataset_id,
    "train_dataset_id": table.c.train_dataset_id,
    "roc_auc": table.c.roc_auc,
    "f1": table.c.f1,
    "precision": table.c.precision,
    "recall": table.c.recall,
    "mean_avg_precision": table.c.mean_avg_precision,
}


@dataclass(frozen=True, kw_only=True)
class Order:
    """By what a list is sorted, a name of SORTS; equal ones newest first."""

    by: str = "created_at"
    is_ascending: bool = False

    def columns(self) -> list[Any]:
        """For an ORDER BY."""
        column: Any = SORTS[self.by]
        return [column.asc() if self.is_ascending else column.desc(), table.c.key.desc()]


def _columns(metrics: resources_pb2.EvalMetrics) -> dict[str, Any]:
    state_of(metrics.status.code)
    summary = metrics.summary
    return {
        "id": metrics.id,
        "status_code": metrics.status.code,
        "model_id": metrics.model.id,
        "eval_dataset_id": metrics.ground_truth_dataset.id,
        "train_dataset_id": metrics.model.model_version.train_info.dataset.id,
        "roc_auc": summary.macro_avg_roc_auc,
        "f1": summary.macro_avg_f1_score,
        "precision": summary.macro_avg_precision,
        "recall": summary.macro_avg_recall,
        "mean_avg_precision": summary.mean_avg_precision_iou_50,
    }


_EVALUATIONS = Noun(table=table, message=resources_pb2.EvalMetrics, columns=_columns, what="evaluation")
_NEWEST_FIRST = (table.c.key.desc(),)


def _is(ref: AppRef, evaluation_id: str) -> tuple[ColumnElement[bool], ...]:
    return table.c.app_key == app_key(ref), table.c.id == evaluation_id


def insert(
    tx: Connection,
    ref: ModelVersionRef,
    metrics: resources_pb2.EvalMetrics,
    *,
    details_sha: str = "",
    concept_ids: Sequence[str] = (),
) -> None:
    """A new evaluation of the version, which measures the concepts; ids are unique within the model's app.

    Raises Duplicate, ModelNotFound.
    """
    owner = {"app_key": app_key_of(tx, ref.app), "version_key": key_of(tx, ref), "details_sha": details_sha}
    _EVALUATIONS.insert(tx, [metrics], **owner)
    if concept_ids:
        key = tx.execute(select(table.c.key).where(*_is(ref.app, metrics.id))).scalar_one()
        measured = [{"evaluation_key": key, "concept_id": concept_id} for concept_id in dict.fromkeys(concept_ids)]
        tx.execute(sql_insert(evaluation_concepts), measured)


def get(tx: Connection, ref: AppRef, evaluation_id: str) -> resources_pb2.EvalMetrics | None:
    """The evaluation of this id, of whichever model of the app."""
    return _EVALUATIONS.first(tx, *_is(ref, evaluation_id))


def of_version(tx: Connection, ref: ModelVersionRef, *, page: int, per_page: int) -> list[resources_pb2.EvalMetrics]:
    """The version's evaluations, newest first, failed ones too."""
    mine = table.c.version_key == _version_key(ref)
    return _EVALUATIONS.page(tx, mine, page=page, per_page=per_page, order=_NEWEST_FIRST)


def _version_key(ref: ModelVersionRef) -> ScalarSelect[Any]:
    query = select(model_versions.c.key).join(models, models.c.key == model_versions.c.model_key)
    mine = models.c.app_key == app_key(ref.app), models.c.id == ref.model_id, model_versions.c.id == ref.version_id
    return query.where(*mine).scalar_subquery()


def page(
    tx: Connection, ref: AppRef, *, page: int, per_page: int, filters: EvaluationFilter, order: Order
) -> list[resources_pb2.EvalMetrics]:
    """The app's evaluations."""
    where = [table.c.app_key == app_key(ref), *_matches(filters)]
    return _EVALUATIONS.page(tx, *where, page=page, per_page=per_page, order=order.columns())


def page_of_user(
    tx: Connection, user_id: str, *, page: int, per_page: int, filters: EvaluationFilter, order: Order
) -> list[resources_pb2.EvalMetrics]:
    """The evaluations of all the user's apps."""
    where = [table.c.app_key.in_(select(apps.c.key).where(apps.c.user_id == user_id)), *_matches(filters)]
    return _EVALUATIONS.page(tx, *where, page=page, per_page=per_page, order=order.columns())


def _matches(filters: EvaluationFilter) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = []
    if filters.model_type_id:
        of_type = select(model_versions.c.key).join(models, models.c.key == model_versions.c.model_key)
        where.append(table.c.version_key.in_(of_type.where(models.c.model_type_id == filters.model_type_id)))
    for column, ids in (
        (table.c.eval_dataset_id, filters.eval_dataset_ids),
        (table.c.train_dataset_id, filters.train_dataset_ids),
    ):
        if ids:
            where.append(column.in_(list(ids)))
    if filters.concept_ids:
        measuring = select(evaluation_concepts.c.evaluation_key)
        mine = evaluation_concepts.c.concept_id.in_(list(filters.concept_ids))
        where.append(table.c.key.in_(measuring.where(mine)))
    if not filters.with_failed:
        where.append(table.c.status_code.not_in(list(_FAILURES)))
    return where


def update(tx: Connection, ref: AppRef, metrics: resources_pb2.EvalMetrics) -> None:
    """Writes the whole message. Raises NotFound, and InvalidRequest if its status cannot follow the stored one."""
    query = select(table.c.status_code).where(*_is(ref, metrics.id))
    present = tx.execute(query.with_for_update()).scalar()
    if present is None:
        raise NotFound(f"there is no evaluation {metrics.id!r} in app {ref.app_id!r}")
    old, new = state_of(present), state_of(metrics.status.code)
    if new is not old and new not in MOVES[old]:
        possible = ", ".join(sorted(state.name for state in MOVES[old])) or "nothing: it is final"
        raise InvalidRequest(
            f"evaluation {metrics.id!r} is {old.name} and cannot become {new.name}; possible: {possible}"
        )
    _EVALUATIONS.update(tx, metrics, *_is(ref, metrics.id))


def set_details(tx: Connection, ref: AppRef, evaluation_id: str, sha: str) -> None:
    """Names the blob of the bulky parts."""
    tx.execute(sql_update(table).where(*_is(ref, evaluation_id)).values(details_sha=sha))


def details_sha(tx: Connection, ref: AppRef, evaluation_id: str) -> str:
    """The blob of the bulky parts; "" while there is none."""
    return tx.execute(select(table.c.details_sha).where(*_is(ref, evaluation_id))).scalar() or ""


def delete(tx: Connection, ref: AppRef, ids: Sequence[str]) -> int:
    """Deletes those that exist. Their jobs are the queue's to cancel."""
    return _EVALUATIONS.delete(tx, table.c.app_key == app_key(ref), table.c.id.in_(list(ids)))
