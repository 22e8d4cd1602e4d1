"""Where a model that a request names is: in the app itself, in another one that the caller may read, or built in.

Published examples name the built-in models by old ids, and without saying whose they are; both are understood here.
"""

from __future__ import annotations

from sqlalchemy import Connection

from lehr.protocol import resources_pb2
from lehr.protocol.ids import PUBLIC_APP, AppRef
from lehr.services.built_in_catalogue import BY_MODEL_ID
from lehr.store import models as model_rows
from lehr.store.versions import ModelVersionRef


def located(tx: Connection, ref: AppRef, model_id: str) -> tuple[AppRef, str]:
    """The app that has the model, and its id there: a model of the app itself goes before a built-in one."""
    built_in = BY_MODEL_ID.get(model_id)
    if built_in is None or (ref != PUBLIC_APP and model_rows.get(tx, ref, model_id) is not None):
        return ref, model_id
    return PUBLIC_APP, built_in.id


def located_version(ref: AppRef, model_id: str, version_id: str) -> str:
    """The version that is meant where a built-in model, as `located` found it, is asked for by an old version id."""
    built_in = BY_MODEL_ID.get(model_id) if ref == PUBLIC_APP else None
    return built_in.version_id if built_in and version_id in built_in.legacy_versions else version_id


def version_of(tx: Connection, ref: AppRef, model: resources_pb2.Model) -> ModelVersionRef:
    """The version that a node names, with version id "" for the newest. `ref` is the app of whoever says so."""
    own = AppRef(model.user_id or ref.user_id, model.app_id or ref.app_id)
    app, model_id = located(tx, own, model.id)
    return ModelVersionRef(app, model_id, located_version(app, model_id, model.model_version.id))
