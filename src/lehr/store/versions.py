"""Model versions: one training each, and the states that a training goes through."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy import ColumnElement, Connection, ScalarSelect, func, select

from lehr.errors import InvalidModel, ModelNotFound
from lehr.protocol import resources_pb2, status_code_pb2, status_pb2
from lehr.protocol.ids import AppRef
from lehr.store.models import key_of as model_key_of
from lehr.store.rows import Noun, app_key
from lehr.store.tables import model_versions as table
from lehr.store.tables import models

__all__ = [
    "MOVES",
    "ModelVersionRef",
    "State",
    "count",
    "delete",
    "get",
    "insert",
    "key_of",
    "latest",
    "latest_trained",
    "page",
    "set_status",
    "state_of",
    "update",
]


class State(Enum):
    """Where a version stands; the value is its usual status code."""

    UNTRAINED = status_code_pb2.MODEL_UNTRAINED
    QUEUED = status_code_pb2.MODEL_QUEUED_FOR_TRAINING
    TRAINING = status_code_pb2.MODEL_TRAINING
    TRAINED = status_code_pb2.MODEL_TRAINED
    FAILED = status_code_pb2.MODEL_TRAINING_FAILED


MOVES: dict[State, frozenset[State]] = {
    State.UNTRAINED: frozenset({State.QUEUED, State.TRAINED, State.FAILED}),  # TRAINED: imported, nothing to train
    State.QUEUED: frozenset({State.TRAINING, State.FAILED}),
    State.TRAINING: frozenset({State.TRAINED, State.FAILED, State.QUEUED}),  # QUEUED: its worker died, another goes on
    State.TRAINED: frozenset(),
    State.FAILED: frozenset(),
}
"""From each state, those it may move to. Staying where it is (percent done, a better sentence) is always allowed."""

_FAILURES = range(
    status_code_pb2.MODEL_TRAINING_NO_DATA, status_code_pb2.MODEL_TRAINING_INVALID_DATA_TOLERANCE_EXCEEDED + 1
)


def state_of(status_code: int) -> State:
    """The state that a status code stands for. Raises InvalidModel for a code that is none of a training."""
    if status_code in _FAILURES:
        return State.FAILED
    try:
        return State(status_code)
    except ValueError as error:
        codes = ", ".join(f"{state.value} ({state.name})" for state in State)
        raise InvalidModel(
            f"status code {status_code} is none of a model version; there are {codes} and 21110 to 21119"
        ) from error


@dataclass(frozen=True, order=True)
class ModelVersionRef:
    """A model version by name. As text (`user/app/model/version`) it is the subject of the version's jobs."""

    app: AppRef
    model_id: str
    version_id: str

    def __str__(self) -> str:
        return "/".join((self.app.user_id, self.app.app_id, self.model_id, self.version_id))

    @classmethod
    def parse(cls, text: str) -> ModelVersionRef:
        """The inverse of `str`; ids contain no slash."""
        user_id, app_id, model_id, version_id = text.split("/")
        return cls(AppRef(user_id, app_id), model_id, version_id)


_VERSIONS = Noun(
    table=table,
    message=resources_pb2.ModelVersion,
    columns=lambda version: {"id": version.id, "status_code": version.status.code},
    what="model version",
)


def _model_key(ref: AppRef, model_id: str) -> ScalarSelect[Any]:
    return select(models.c.key).where(models.c.app_key == app_key(ref), models.c.id == model_id).scalar_subquery()


def _is(ref: ModelVersionRef) -> tuple[ColumnElement[bool], ...]:
    return table.c.model_key == _model_key(ref.app, ref.model_id), table.c.id == ref.version_id


def key_of(tx: Connection, ref: ModelVersionRef) -> int:
    """The version's key, for inserting below it. Raises ModelNotFound."""
    key = tx.execute(select(table.c.key).where(*_is(ref))).scalar()
    if key is None:
        raise _missing(ref)
    return int(key)


def _missing(ref: ModelVersionRef) -> ModelNotFound:
    return ModelNotFound(f"Model does not exist: there is no version {ref.version_id!r} of model {ref.model_id!r}")


def insert(tx: Connection, ref: AppRef, model_id: str, version: resources_pb2.ModelVersion) -> None:
    """`version.status.code` must be of a state. Raises Duplicate, ModelNotFound."""
    state_of(version.status.code)
    _VERSIONS.insert(tx, [version], model_key=model_key_of(tx, ref, model_id))


def get(tx: Connection, ref: ModelVersionRef) -> resources_pb2.ModelVersion | None:
    """The version of this name."""
    return _VERSIONS.first(tx, *_is(ref))


def latest(tx: Connection, ref: AppRef, model_ids: Iterable[str]) -> dict[str, resources_pb2.ModelVersion]:
    """Model id → its newest version, of those models that have one."""
    return _newest(tx, ref, model_ids)


def latest_trained(tx: Connection, ref: AppRef, model_ids: Iterable[str]) -> dict[str, resources_pb2.ModelVersion]:
    """Model id → its newest trained version, of those models that have one."""
    return _newest(tx, ref, model_ids, _TRAINED)


_TRAINED = table.c.status_code == State.TRAINED.value


def _newest(
    tx: Connection, ref: AppRef, model_ids: Iterable[str], *where: ColumnElement[bool]
) -> dict[str, resources_pb2.ModelVersion]:
    chosen = select(models.c.key).where(models.c.app_key == app_key(ref), models.c.id.in_(list(model_ids)))
    keys = select(func.max(table.c.key)).where(table.c.model_key.in_(chosen), *where).group_by(table.c.model_key)
    query = select(models.c.id, table.c.message).join(models, models.c.key == table.c.model_key)
    return {row.id: _VERSIONS.parse(row.message) for row in tx.execute(query.where(table.c.key.in_(keys)))}


def page(
    tx: Connection, ref: AppRef, model_id: str, *, page: int, per_page: int, trained_only: bool = False
) -> list[resources_pb2.ModelVersion]:
    """The model's versions, newest first."""
    where = [table.c.model_key == _model_key(ref, model_id), *([_TRAINED] if trained_only else [])]
    return _VERSIONS.page(tx, *where, page=page, per_page=per_page, order=[table.c.key.desc()])


def count(tx: Connection, ref: AppRef, model_id: str) -> int:
    """How many versions the model has."""
    return _VERSIONS.count(tx, table.c.model_key == _model_key(ref, model_id))


def update(tx: Connection, ref: ModelVersionRef, version: resources_pb2.ModelVersion) -> None:
    """Writes the whole message. Raises ModelNotFound, and InvalidModel if its status cannot follow the stored one."""
    present = tx.execute(select(table.c.status_code).where(*_is(ref)).with_for_update()).scalar()
    if present is None:
        raise _missing(ref)
    _check_move(ref, state_of(present), state_of(version.status.code))
    _VERSIONS.update(tx, version, *_is(ref))


def _check_move(ref: ModelVersionRef, old: State, new: State) -> None:
    if new is not old and new not in MOVES[old]:
        possible = ", ".join(sorted(state.name for state in MOVES[old])) or "nothing: it is final"
        raise InvalidModel(
            f"version {ref.version_id!r} is {old.name} and cannot become {new.name}; possible: {possible}"
        )


def set_status(tx: Connection, ref: ModelVersionRef, status: status_pb2.Status) -> resources_pb2.ModelVersion:
    """Changes only the status, by an allowed move; answers the version as it is now. Raises as `update` does."""
    version = get(tx, ref)
    if version is None:
        raise _missing(ref)
    version.status.CopyFrom(status)
    update(tx, ref, version)
    return version


def delete(tx: Connection, ref: ModelVersionRef) -> int:
    """Deletes the version with its log, checkpoints and bundle. Its job is the queue's to cancel."""
    return _VERSIONS.delete(tx, *_is(ref))
