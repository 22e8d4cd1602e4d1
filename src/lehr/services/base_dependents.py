"""Who relies on an embedder: models that were trained on it, apps that search with it. Tells or protects them."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from lehr.errors import InvalidModel
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.structs import from_struct, to_struct
from lehr.services import named_models
from lehr.services.base_workflow import BUILT_IN
from lehr.services.located import version_of
from lehr.store import embeddings as rows
from lehr.store import models as model_rows
from lehr.store import versions as version_rows
from lehr.store.embeddings import LIVE
from lehr.store.models import ModelFilter
from lehr.store.versions import ModelVersionRef

CLASSIFIER = "embedding-classifier"
NOTE = "base_changed"
PAGE = 500


def tell(tx: Connection, ref: AppRef, before: ModelVersionRef, after: ModelVersionRef) -> int:
    """The app's base embedder changed: its embedding-classifiers on the old one say so; answers how many."""
    if before == after:
        return 0
    told = 0
    for model in _classifiers(tx, ref):
        for version in version_rows.page(tx, ref, model.id, page=1, per_page=PAGE, trained_only=True):
            if _relies(tx, version, ref, before):
                _note(version, before, after)
                version_rows.update(tx, ModelVersionRef(ref, model.id, version.id), version)
                told += 1
    return told


def trained_on(
    tx: Connection, ref: AppRef, embedder: ModelVersionRef
) -> Iterator[tuple[ModelVersionRef, resources_pb2.ModelVersion]]:
    """The newest trained version of each embedding-classifier of the app whose embedder is this one."""
    models = [model.id for model in _classifiers(tx, ref)]
    for model_id, version in version_rows.latest_trained(tx, ref, models).items():
        if _relies(tx, version, ref, embedder):
            yield ModelVersionRef(ref, model_id, version.id), version


def _classifiers(tx: Connection, ref: AppRef) -> Iterator[resources_pb2.Model]:
    filters, page = ModelFilter(model_type_id=CLASSIFIER), 1
    while models := model_rows.page(tx, ref, page=page, per_page=PAGE, filters=filters):
        yield from models
        page += 1


def _relies(tx: Connection, version: resources_pb2.ModelVersion, ref: AppRef, embedder: ModelVersionRef) -> bool:
    """Whether it was trained on this embedder. A version that names none was trained on the built-in one."""
    given = named_models.embed_model(ref, version)
    if not given:
        return embedder.app == BUILT_IN
    named = named_models.read(given) if isinstance(given, str) else None
    if named is None:
        return False
    vref = version_of(tx, ref, named)
    is_it = (vref.app, vref.model_id) == (embedder.app, embedder.model_id)
    return is_it and vref.version_id in ("", embedder.version_id)


def _note(version: resources_pb2.ModelVersion, before: ModelVersionRef, after: ModelVersionRef) -> None:
    sentence = (
        f"This version was trained on the embedder {before.model_id}/{before.version_id}, which it goes on using; the "
        f"app's base embedder is now {after.model_id}/{after.version_id}. Train a new version with it as "
        "base_embed_model to follow."
    )
    facts = from_struct(version.metadata)
    own = facts.get("lehr")
    facts["lehr"] = {**(own if isinstance(own, dict) else {}), NOTE: sentence}
    version.metadata.CopyFrom(to_struct(facts))
    version.status.details = sentence


def refuse_if_in_use(tx: Connection, ref: AppRef, model_id: str, version_id: str = "") -> None:
    """Raises InvalidModel where an app's index lives on this model (this version), naming the app and what to do."""
    for app, generation in rows.built_on(tx, f"{ref.user_id}/{ref.app_id}/{model_id}/"):
        if generation.state not in LIVE or version_id not in ("", generation.embedder.version_id):
            continue
        what = f"version {generation.embedder.version_id!r} of model {model_id!r}"
        raise InvalidModel(
            f"Model {model_id!r} cannot be deleted: {what} makes the vectors that searches in app {app.app_id!r} "
            "compare. Set another default workflow there with reindex, and delete it when that is done; or delete the "
            "app."
        )


def refuse_app_in_use(tx: Connection, ref: AppRef) -> None:
    """Raises InvalidModel where another app's index lives on a model of this one."""
    for app, generation in rows.built_on(tx, f"{ref.user_id}/{ref.app_id}/"):
        if app != ref and generation.state in LIVE:
            raise InvalidModel(
                f"App {ref.app_id!r} cannot be deleted: its model {generation.embedder.model_id!r} makes the vectors "
                f"that searches in app {app.app_id!r} compare. Set another default workflow there with reindex first."
            )
