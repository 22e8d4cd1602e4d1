"""Models and their versions: made, read, changed, deleted. Training is services/training.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from lehr.errors import Duplicate, InvalidModel, ModelNotFound
from lehr.jobs.queue import Queue
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import PUBLIC_APP, AppRef, checked_id, new_id
from lehr.protocol.patch import patched
from lehr.protocol.statuses import status
from lehr.services import model_types, named_models
from lehr.services.base_dependents import refuse_if_in_use
from lehr.services.built_in_catalogue import LEGACY_IDS
from lehr.services.concepts import ensure_concepts
from lehr.services.located import located, located_version
from lehr.services.operator_types import is_operator, settle
from lehr.services.paging import Paging
from lehr.services.plans import inherited, plan_of
from lehr.store import models as model_rows
from lehr.store import versions as version_rows
from lehr.store.db import Database
from lehr.store.models import ModelFilter
from lehr.store.versions import ModelVersionRef


@dataclass(frozen=True, kw_only=True)
class Models:
    """Needs the store, and the queue to cancel what is deleted."""

    db: Database
    queue: Queue

    def create(
        self, ref: AppRef, wanted: Sequence[resources_pb2.Model], *, confined: bool = False
    ) -> list[resources_pb2.Model]:
        """Makes models with one untrained version each, all or none; unknown concepts are made too.

        `confined`: who asks may name no model of another app to build on, which others could train later.
        Raises InvalidModel, InvalidParams (all problems at once) or Duplicate.
        """
        if not wanted:
            raise InvalidModel("No model was given: send `model` or `models`.")
        made = []
        with self.db.write() as tx:
            for order in wanted:
                model = _new_model(ref, order)
                version = _first_version(ref, model, order, confined=confined)
                if model_rows.get(tx, ref, model.id) is not None:
                    raise Duplicate(f"Model {model.id!r} already exists.")
                ensure_concepts(tx, ref, version.output_info.data.concepts)
                model_rows.insert(tx, ref, [model])
                version_rows.insert(tx, ref, model.id, version)
                made.append(with_version(model, version))
        return made

    def get(self, ref: AppRef, model_id: str, version_id: str = "") -> resources_pb2.Model:
        """The model with the version asked for, or with its newest; built-in ones too. Raises ModelNotFound."""
        with self.db.read() as tx:
            ref, model_id = located(tx, ref, model_id)
            model = found_model(tx, ref, model_id)
            if version_id:
                version = found_version(tx, ref, model_id, located_version(ref, model_id, version_id))
                return with_version(model, version)
            newest = version_rows.latest(tx, ref, [model_id])
        return with_version(model, newest.get(model_id))

    def list_of(self, ref: AppRef, paging: Paging, filters: ModelFilter) -> list[resources_pb2.Model]:
        """A page of models with their newest version each, newest modified first."""
        with self.db.read() as tx:
            models = model_rows.page(tx, ref, page=paging.page, per_page=paging.per_page, filters=filters)
            newest = version_rows.latest(tx, ref, [model.id for model in models])
        return [with_version(model, newest.get(model.id)) for model in models]

    def patch(
        self, ref: AppRef, changes: Sequence[resources_pb2.Model], action: str, *, confined: bool = False
    ) -> list[resources_pb2.Model]:
        """Changes models. What concerns training (concepts, configuration) makes a new untrained version.

        `confined`: as in `create`.
        """
        done = []
        with self.db.write() as tx:
            for change in changes:
                stored = found_model(tx, ref, change.id)
                model = patched(stored, change, action or "merge")
                _keep_identity(model, stored)
                model_rows.update(tx, ref, model)
                done.append(with_version(model, self._version_after(tx, ref, stored, model, confined=confined)))
        return done

    def _version_after(
        self, tx: Connection, ref: AppRef, old: resources_pb2.Model, new: resources_pb2.Model, *, confined: bool
    ) -> resources_pb2.ModelVersion | None:
        newest = version_rows.latest(tx, ref, [new.id]).get(new.id)
        if confined and old.input_info != new.input_info:
            _refuse_other_apps(ref, inherited(new, None))
        if old.output_info == new.output_info and old.train_info == new.train_info:
            return newest
        version = _first_version(ref, new, new, confined=confined)
        version.id = new_id()
        ensure_concepts(tx, ref, version.output_info.data.concepts)
        version_rows.insert(tx, ref, new.id, version)
        return version

    def delete(self, ref: AppRef, ids: Sequence[str], *, everything: bool = False) -> None:
        """Deletes models with all their versions, and stops their jobs. An empty list deletes nothing."""
        with self.db.write() as tx:
            if everything:
                all_of_them = model_rows.count(tx, ref, ModelFilter()) or 1
                ids = [m.id for m in model_rows.page(tx, ref, page=1, per_page=all_of_them, filters=ModelFilter())]
            for model_id in ids:
                refuse_if_in_use(tx, ref, model_id)
                self.queue.cancel_under(tx, f"{ref.user_id}/{ref.app_id}/{model_id}/")
            gone = model_rows.delete(tx, ref, ids)
        if len(ids) == 1 and not gone:
            raise ModelNotFound(f"There is no model {ids[0]!r} in app {ref.app_id!r}.")

    def get_version(self, ref: AppRef, model_id: str, version_id: str) -> resources_pb2.ModelVersion:
        """One version. Raises ModelNotFound."""
        with self.db.read() as tx:
            ref, model_id = located(tx, ref, model_id)
            return found_version(tx, ref, model_id, located_version(ref, model_id, version_id))

    def list_versions(
        self, ref: AppRef, model_id: str, paging: Paging, *, trained_only: bool = False
    ) -> list[resources_pb2.ModelVersion]:
        """A page of a model's versions, newest first. Raises ModelNotFound."""
        with self.db.read() as tx:
            ref, model_id = located(tx, ref, model_id)
            found_model(tx, ref, model_id)
            return version_rows.page(
                tx, ref, model_id, page=paging.page, per_page=paging.per_page, trained_only=trained_only
            )

    def patch_versions(
        self, ref: AppRef, model_id: str, changes: Sequence[resources_pb2.ModelVersion], action: str
    ) -> list[resources_pb2.ModelVersion]:
        """Changes description, metadata, licence or visibility of versions; the rest is history and stays."""
        done = []
        with self.db.write() as tx:
            for change in changes:
                stored = found_version(tx, ref, model_id, change.id)
                version = patched(stored, _only_words(change), action or "merge")
                version_rows.update(tx, ModelVersionRef(ref, model_id, change.id), version)
                done.append(version)
        return done

    def delete_version(self, ref: AppRef, model_id: str, version_id: str) -> None:
        """Deletes a version; one that is queued or training is cancelled by that. Raises ModelNotFound."""
        with self.db.write() as tx:
            found_version(tx, ref, model_id, version_id)
            refuse_if_in_use(tx, ref, model_id, version_id)
            vref = ModelVersionRef(ref, model_id, version_id)
            self.queue.cancel(tx, str(vref))
            version_rows.delete(tx, vref)

    def concepts(self, ref: AppRef, model_id: str, version_id: str, paging: Paging) -> list[resources_pb2.Concept]:
        """The concepts a version knows, in its order."""
        model = self.get(ref, model_id, version_id)
        start = (paging.page - 1) * paging.per_page
        return list(model.model_version.output_info.data.concepts[start : start + paging.per_page])


def found_model(tx: Connection, ref: AppRef, model_id: str) -> resources_pb2.Model:
    """The model without a version. Raises ModelNotFound."""
    model = model_rows.get(tx, ref, model_id)
    if model is None:
        raise ModelNotFound(f"There is no model {model_id!r} in app {ref.app_id!r}.")
    return model


def found_version(tx: Connection, ref: AppRef, model_id: str, version_id: str) -> resources_pb2.ModelVersion:
    """The version. Raises ModelNotFound."""
    version = version_rows.get(tx, ModelVersionRef(ref, model_id, version_id))
    if version is None:
        raise ModelNotFound(f"There is no version {version_id!r} of model {model_id!r} in app {ref.app_id!r}.")
    return version


def with_version(model: resources_pb2.Model, version: resources_pb2.ModelVersion | None) -> resources_pb2.Model:
    """The model as clients get it."""
    shown = resources_pb2.Model()
    shown.CopyFrom(model)
    if version is not None:
        shown.model_version.CopyFrom(version)
    return shown


def _new_model(ref: AppRef, order: resources_pb2.Model) -> resources_pb2.Model:
    """The row to store: checked, with its identity, without a version."""
    if ref != PUBLIC_APP and order.id in LEGACY_IDS:
        raise InvalidModel(f"Model id {order.id!r} is that of a built-in model; choose another.")
    if not model_types.is_creatable(order.model_type_id):
        known = ", ".join(model_type.id for model_type in model_types.list_types())
        raise InvalidModel(f"model_type_id {order.model_type_id!r} cannot be made here; there are: {known}.")
    model = resources_pb2.Model()
    model.CopyFrom(order)
    model.id = checked_id(order.id, "Model", refuse=InvalidModel) if order.id else new_id()
    model.app_id, model.user_id = ref.app_id, ref.user_id
    model.name = order.name or model.id
    for field in ("model_version", "created_at", "modified_at"):
        model.ClearField(field)
    return model


def _first_version(
    ref: AppRef, model: resources_pb2.Model, order: resources_pb2.Model, *, confined: bool
) -> resources_pb2.ModelVersion:
    """The untrained version that comes with a model. A template that is named must be good at once."""
    version = inherited(model, order.model_version if order.HasField("model_version") else None)
    if confined:
        _refuse_other_apps(ref, version)
    version.id = checked_id(version.id, "Model version", refuse=InvalidModel) if version.id else new_id()
    version.app_id, version.user_id = ref.app_id, ref.user_id
    version.status.CopyFrom(status(status_code_pb2.MODEL_UNTRAINED))
    if is_operator(model.model_type_id):
        settle(version, model.model_type_id)
    elif "template" in version.train_info.params.fields:
        plan_of(ref, model.model_type_id, version, is_complete=False)
    return version


def _refuse_other_apps(ref: AppRef, version: resources_pb2.ModelVersion) -> None:
    """Raises InvalidModel where a version is to build on what only others than the asker can reach."""
    outside = named_models.of_other_apps(ref, version)
    if outside:
        raise InvalidModel(
            f"{outside[0]!r} is in another app, which this key or collaborator does not reach: name a model of app "
            f"{ref.app_id!r} to build on."
        )


def _keep_identity(model: resources_pb2.Model, stored: resources_pb2.Model) -> None:
    """PATCH changes neither who a model is nor what type it has."""
    for field in ("id", "app_id", "user_id", "model_type_id"):
        setattr(model, field, getattr(stored, field))
    model.created_at.CopyFrom(stored.created_at)
    model.ClearField("model_version")


def _only_words(change: resources_pb2.ModelVersion) -> resources_pb2.ModelVersion:
    words = resources_pb2.ModelVersion(id=change.id, description=change.description, license=change.license)
    if change.HasField("metadata"):
        words.metadata.CopyFrom(change.metadata)
    if change.HasField("visibility"):
        words.visibility.CopyFrom(change.visibility)
    return words
