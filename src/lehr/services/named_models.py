"""Models that a training's parameters name to build on, in one written form, whatever form they were sent in.

    model_id    model_id/version_id    user_id/app_id/model_id    user_id/app_id/model_id/version_id

Without a version the newest trained one is meant; without user and app that of the training itself. Ids have no slash.
"""

from __future__ import annotations

from collections.abc import Mapping

from lehr.protocol import resources_pb2
from lehr.protocol.ids import PUBLIC_APP, AppRef
from lehr.protocol.structs import from_struct

FORMS = '"model_id", "model_id/version_id", "user_id/app_id/model_id" or "user_id/app_id/model_id/version_id"'


def written(ref: AppRef, model: resources_pb2.Model) -> str:
    """A model that a message names, seen from app `ref`; "" where it names none."""
    if not model.id:
        return ""
    home = (model.user_id or ref.user_id, model.app_id or ref.app_id)
    own = () if home == (ref.user_id, ref.app_id) else home
    return "/".join((*own, *(part for part in (model.id, model.model_version.id) if part)))


def written_object(ref: AppRef, given: Mapping[str, object]) -> str:
    """A model that is written out as an object among parameters; "" where it names none."""
    version = given.get("model_version")
    inner = version.get("id") if isinstance(version, Mapping) else None
    model = resources_pb2.Model(
        id=_text(given.get("model_id") or given.get("id")),
        user_id=_text(given.get("user_id")),
        app_id=_text(given.get("app_id")),
    )
    model.model_version.id = _text(given.get("model_version_id") or given.get("version_id") or inner)
    return written(ref, model)


def embed_model(ref: AppRef, version: resources_pb2.ModelVersion) -> object:
    """What a version names as base_embed_model, from wherever clients put it: the parameters first, then input_info.

    A text, or whatever else was sent in its place; "" where there is none.
    """
    info = version.input_info
    params = from_struct(version.train_info.params)
    given = params.get("base_embed_model") or from_struct(info.params).get("base_embed_model")
    if isinstance(given, Mapping):
        given = written_object(ref, given)
    return given or written(ref, info.base_embed_model)


def read(text: str) -> resources_pb2.Model | None:
    """The model that the written form names; None for what is not of that form."""
    parts = text.split("/")
    if not all(parts) or len(parts) > 4:
        return None
    model = resources_pb2.Model()
    if len(parts) > 2:
        model.user_id, model.app_id, *parts = parts
    model.id = parts[0]
    model.model_version.id = parts[1] if len(parts) > 1 else ""
    return model


def of_other_apps(ref: AppRef, version: resources_pb2.ModelVersion) -> list[str]:
    """What a version names to build on that lies in another app than `ref`, built-in models aside; in written form."""
    weights = from_struct(version.train_info.params).get("pretrained_weights")
    if isinstance(weights, Mapping):
        weights = written_object(ref, weights)
    texts = [embed_model(ref, version), weights, written(ref, version.train_info.resume_from_model)]
    found = [(text, read(text)) for text in texts if isinstance(text, str) and text]
    homes = {text: (model.user_id, model.app_id) for text, model in found if model is not None and model.app_id}
    own = ((ref.user_id, ref.app_id), (PUBLIC_APP.user_id, PUBLIC_APP.app_id))
    return [text for text, home in homes.items() if home not in own]


def _text(value: object) -> str:
    return str(value) if value else ""
