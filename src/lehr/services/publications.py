"""Versions that anyone with a key on this server may look at and predict with, by naming model and version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from lehr.errors import InvalidModel, Untrained
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.services.media import hosted_sha
from lehr.services.models import found_model, found_version
from lehr.store import versions as version_rows
from lehr.store.db import Database
from lehr.store.versions import ModelVersionRef

PUBLIC, PRIVATE = resources_pb2.Visibility.Gettable.PUBLIC, resources_pb2.Visibility.Gettable.PRIVATE
OPEN = frozenset(
    {
        "GetModel",
        "GetModelVersion",
        "GetModelOutputInfo",
        "ListModelConcepts",
        "PostModelOutputs",
        "GenerateModelOutputs",
    }
)
"""What a stranger may call on a published version, named with its model."""


@dataclass(frozen=True, kw_only=True)
class Publications:
    """Needs only the store."""

    db: Database

    def publish(self, ref: AppRef, model_id: str, version_ids: Sequence[str]) -> None:
        """Makes trained versions public, all or none. Raises ModelNotFound, InvalidModel, Untrained."""
        with self.db.write() as tx:
            for version in _versions(tx, ref, model_id, version_ids):
                if version.status.code != status_code_pb2.MODEL_TRAINED:
                    raise Untrained(f"Version {version.id!r} is not trained; only what can be used is published.")
                _show(tx, ref, model_id, version, PUBLIC)

    def unpublish(self, ref: AppRef, model_id: str, version_ids: Sequence[str]) -> None:
        """Makes versions private again, all or none; at once. Raises ModelNotFound, InvalidModel."""
        with self.db.write() as tx:
            for version in _versions(tx, ref, model_id, version_ids):
                _show(tx, ref, model_id, version, PRIVATE)


def is_open(tx: Connection, rpc: str, ref: AppRef, request: Any) -> bool:
    """Whether a stranger may make this call: it names a published version, and no input of its owner."""
    if rpc not in OPEN or not request.model_id or not request.version_id:
        return False
    version = version_rows.get(tx, ModelVersionRef(ref, request.model_id, request.version_id))
    if version is None or version.visibility.gettable != PUBLIC:
        return False
    inputs = getattr(request, "inputs", ())
    return not any(item.id and (not item.HasField("data") or hosted_sha(item)) for item in inputs)


def _versions(
    tx: Connection, ref: AppRef, model_id: str, version_ids: Sequence[str]
) -> list[resources_pb2.ModelVersion]:
    found_model(tx, ref, model_id)
    if not version_ids:
        raise InvalidModel("No version was named: `publications` is a list of {version_id}.")
    return [found_version(tx, ref, model_id, version_id) for version_id in version_ids]


def _show(tx: Connection, ref: AppRef, model_id: str, version: resources_pb2.ModelVersion, to: int) -> None:
    version.visibility.gettable = to
    version_rows.update(tx, ModelVersionRef(ref, model_id, version.id), version)
