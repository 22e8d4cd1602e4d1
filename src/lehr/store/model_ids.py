"""Gives a model another id, wherever rows call it by its id."""

from __future__ import annotations

from sqlalchemy import Connection, select, update
from sqlalchemy.exc import IntegrityError

from lehr.errors import Duplicate
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store.models import key_of
from lehr.store.tables import evaluations, model_versions, models
from lehr.store.times import micros, touch

__all__ = ["rename"]


def rename(tx: Connection, ref: AppRef, old_id: str, new_id: str) -> None:
    """The model, and its evaluations, which name it. Raises ModelNotFound, Duplicate."""
    key = key_of(tx, ref, old_id)
    model = resources_pb2.Model()
    model.MergeFromString(tx.execute(select(models.c.message).where(models.c.key == key)).scalar_one())
    model.id = new_id
    touch(model)
    row = {"id": new_id, "modified_at": micros(model.modified_at), "message": model.SerializeToString()}
    try:
        with tx.begin_nested():
            tx.execute(update(models).where(models.c.key == key).values(**row))
    except IntegrityError as error:
        raise Duplicate(f"Model {new_id!r} already exists: choose another id.") from error
    _rename_in_evaluations(tx, key, new_id)


def _rename_in_evaluations(tx: Connection, model_key: int, new_id: str) -> None:
    versions = select(model_versions.c.key).where(model_versions.c.model_key == model_key)
    found = select(evaluations.c.key, evaluations.c.message).where(evaluations.c.version_key.in_(versions))
    for row in tx.execute(found).all():
        metrics = resources_pb2.EvalMetrics()
        metrics.MergeFromString(row.message)
        metrics.model.id = new_id
        changed = {"model_id": new_id, "message": metrics.SerializeToString()}
        tx.execute(update(evaluations).where(evaluations.c.key == row.key).values(**changed))
