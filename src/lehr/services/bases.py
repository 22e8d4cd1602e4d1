"""Trained models that a training builds on: found when it is asked for, so that every attempt takes the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from lehr.errors import InvalidModel, Untrained
from lehr.protocol.ids import AppRef
from lehr.services.bundles import Bundles
from lehr.services.plans import Plan
from lehr.store import bundles as bundle_rows
from lehr.store import models as model_rows
from lehr.store import versions as version_rows
from lehr.store.versions import ModelVersionRef

BASE, EARLIER = "base", "earlier"
"""What a job's payload calls them."""


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Folders of the trained models, on this machine."""

    base: Path | None = None
    earlier: Path | None = None


def payload_of_bases(tx: Connection, app: AppRef, plan: Plan) -> dict[str, str]:
    """Which versions a training builds on, as a job keeps it. Raises InvalidModel or Untrained where they cannot be."""
    payload = {}
    if plan.base:
        base = _base(tx, app, plan)
        if base:
            payload[BASE] = str(base)
    if plan.earlier:
        payload[EARLIER] = str(_trained(tx, app, plan.earlier, "train_info.resume_from_model"))
    return payload


def folders_of(payload: Mapping[str, object], bundles: Bundles) -> Folders:
    """The versions of a job's payload, fetched. Raises Untrained where one was deleted meanwhile."""
    found = {
        name: bundles.folder_of(ModelVersionRef.parse(str(payload[name])))
        for name in (BASE, EARLIER)
        if name in payload
    }
    return Folders(**found)


def _base(tx: Connection, app: AppRef, plan: Plan) -> ModelVersionRef | None:
    """The version that the form names; None where it names published weights instead."""
    model_id, _, version_id = plan.base.partition("/")
    model = model_rows.get(tx, app, model_id)
    if plan.needs_embedder:
        if model is None:
            raise InvalidModel(
                f"base_embed_model {plan.base!r}: the app has no model {model_id!r}; name a trained one."
            )
        if model.model_type_id != "visual-embedder":
            raise InvalidModel(
                f"base_embed_model {plan.base!r} is a {model.model_type_id}; it must be a visual-embedder of this app."
            )
    return _trained(tx, app, (model_id, version_id), "the base") if model else None


def _trained(tx: Connection, app: AppRef, named: tuple[str, str], what: str) -> ModelVersionRef:
    model_id, version_id = named
    if not version_id:
        newest = version_rows.latest_trained(tx, app, [model_id]).get(model_id)
        version_id = newest.id if newest else ""
    vref = ModelVersionRef(app, model_id, version_id)
    if not version_id or bundle_rows.get(tx, vref) is None:
        which = f"version {version_id!r} of model {model_id!r}" if version_id else f"model {model_id!r}"
        raise Untrained(f"{which} is to be {what}, but has not been trained: train it first, or name another.")
    return vref
