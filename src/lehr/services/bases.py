"""Trained models that a training builds on: found when it is asked for, so that every attempt takes the same ones.

They are of the app itself, of another app of the same user, or built in; what is somebody else's is answered as what is
not there. Whether their networks fit is read from their sheets, before anything is queued.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from lehr.errors import InvalidModel, Untrained
from lehr.learn.layouts import base_of, check_backbone, check_same_template, check_whole_embedder
from lehr.protocol import resources_pb2
from lehr.protocol.ids import PUBLIC_APP, AppRef
from lehr.services import named_models
from lehr.services.built_in import VERSIONS as BUILT_IN
from lehr.services.bundles import Bundles
from lehr.services.located import version_of
from lehr.services.model_types import is_trainable
from lehr.services.models import found_model
from lehr.services.plans import Plan, inherited, plan_of
from lehr.store import bundles as bundle_rows
from lehr.store import models as model_rows
from lehr.store import versions as version_rows
from lehr.store.db import Database
from lehr.store.versions import ModelVersionRef

BASE, EARLIER = "base", "earlier"
"""What a job's payload calls them."""
EMBEDDER = "visual-embedder"


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Folders of the trained models, on this machine."""

    base: Path | None = None
    earlier: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Bases:
    """Needs the store and the trained bundles."""

    db: Database
    bundles: Bundles

    def of_order(
        self, ref: AppRef, model_id: str, wanted: resources_pb2.ModelVersion | None, *, confined: bool = False
    ) -> dict[str, str]:
        """As `of_plan`, for a version that is to be made of a model; {} for a type that is not trained.

        Raises InvalidParams and ModelNotFound, too.
        """
        with self.db.read() as tx:
            model = found_model(tx, ref, model_id)
        if not is_trainable(model.model_type_id):
            return {}
        return self.of_plan(ref, plan_of(ref, model.model_type_id, inherited(model, wanted)), confined=confined)

    def of_plan(self, ref: AppRef, plan: Plan, *, confined: bool = False) -> dict[str, str]:
        """Which versions a training builds on, as a job keeps it. `confined`: other apps of the user are out of reach.

        Raises InvalidModel where there is none such or its network does not fit, Untrained where it has no weights, and
        Loading where a built-in one is still being prepared.
        """
        asker = _Asker(ref=ref, is_confined=confined)
        with self.db.read() as tx:
            base = asker.base(tx, plan) if plan.base else None
            earlier = asker.earlier(tx, plan) if plan.earlier else None
        if base:
            self._check_base(plan, base)
        if earlier:
            check_same_template(str(self.bundles.sheet_of(earlier)["template"]), plan.template.name)
        return {name: str(vref) for name, vref in ((BASE, base), (EARLIER, earlier)) if vref}

    def _check_base(self, plan: Plan, vref: ModelVersionRef) -> None:
        sheet = self.bundles.sheet_of(vref)
        if plan.needs_embedder:
            check_whole_embedder(sheet)
            return
        layout, own = base_of(sheet), plan.template.backbone_with(plan.form)
        if own:
            check_backbone(layout.backbone, own)


def folders_of(payload: Mapping[str, object], bundles: Bundles) -> Folders:
    """The versions of a job's payload, fetched. Raises Untrained where one was deleted meanwhile."""
    found = {
        name: bundles.folder_of(ModelVersionRef.parse(str(payload[name])))
        for name in (BASE, EARLIER)
        if name in payload
    }
    return Folders(**found)


@dataclass(frozen=True, kw_only=True)
class _Asker:
    """Whose training it is, and what is within its reach."""

    ref: AppRef
    is_confined: bool

    def base(self, tx: Connection, plan: Plan) -> ModelVersionRef | None:
        """The version that the form names; None where it names published weights instead."""
        knob = "base_embed_model" if plan.needs_embedder else "pretrained_weights"
        named = named_models.read(plan.base)
        if named is None and plan.needs_embedder:
            raise InvalidModel(f"{knob} is {plan.base!r}, which names no model; write {named_models.FORMS}.")
        vref = self._found(tx, named) if named else None
        if named and vref is None and (plan.needs_embedder or named.app_id):
            raise self._unknown(knob, named)
        if vref is None:
            return None
        model = found_model(tx, vref.app, vref.model_id)
        if plan.needs_embedder and model.model_type_id != EMBEDDER:
            raise InvalidModel(f"{knob} {plan.base!r} is a {model.model_type_id}; it must be a {EMBEDDER}.")
        return _trained(tx, vref, "the base")

    def earlier(self, tx: Connection, plan: Plan) -> ModelVersionRef:
        """The version that resume_from_model names."""
        knob, kind = "train_info.resume_from_model", plan.template.model_type
        named = named_models.read(plan.earlier)
        vref = self._found(tx, named) if named else None
        if named is None or vref is None:
            raise self._unknown(knob, named or resources_pb2.Model(id=plan.earlier))
        model = found_model(tx, vref.app, vref.model_id)
        if model.model_type_id != kind:
            raise InvalidModel(f"{knob} {plan.earlier!r} is a {model.model_type_id}; it must be a {kind} as this one.")
        return _trained(tx, vref, knob)

    def _found(self, tx: Connection, named: resources_pb2.Model) -> ModelVersionRef | None:
        """The model, as other calls find it; None where there is none such within reach."""
        if named.user_id not in ("", self.ref.user_id, PUBLIC_APP.user_id):
            return None  # before it is looked for, for what is not there may be answered by what is built in
        vref = version_of(tx, self.ref, named)
        is_ours = vref.app == self.ref or (vref.app.user_id == self.ref.user_id and not self.is_confined)
        if not is_ours and vref.app != PUBLIC_APP:
            return None
        return vref if model_rows.get(tx, vref.app, vref.model_id) is not None else None

    def _unknown(self, knob: str, named: resources_pb2.Model) -> InvalidModel:
        """The same for what is not there and for what is not theirs to use."""
        place = f"{named.user_id}/{named.app_id}" if named.app_id else f"{self.ref.user_id}/{self.ref.app_id}"
        return InvalidModel(
            f"{knob}: there is no model {named.id!r} in app {place} that is yours to use. Name a trained one of your "
            f"own as {named_models.FORMS}."
        )


def _trained(tx: Connection, vref: ModelVersionRef, what: str) -> ModelVersionRef:
    """With its version, the newest trained one where none is named. A built-in bundle may still be missing."""
    if not vref.version_id:
        newest = version_rows.latest_trained(tx, vref.app, [vref.model_id]).get(vref.model_id)
        vref = ModelVersionRef(vref.app, vref.model_id, newest.id if newest else "")
    if bundle_rows.get(tx, vref) is None and vref not in BUILT_IN:
        which = f"version {vref.version_id!r} of model" if vref.version_id else "model"
        raise Untrained(
            f"{which} {vref.model_id!r} is to be {what}, but has not been trained: train it first, or name another."
        )
    return vref
