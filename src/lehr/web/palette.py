"""What a node of a workflow can run: the app's trained models, what is built in, and operators that nobody trains."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lehr.errors import InvalidWorkflow
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import PUBLIC_APP
from lehr.services.node_kinds import KINDS, kind_of
from lehr.services.operator_types import UNTRAINED_TYPES, is_operator
from lehr.web.client import Refused
from lehr.web.drafts import Draft, Node, Using
from lehr.web.page import Visit
from lehr.web.targets import MOST
from lehr.web.workflows import BUILT_IN

TITLES = {
    "visual-classifier": "Classifier",
    "visual-detector": "Detector",
    "visual-embedder": "Embedder",
    "embedding-classifier": "Classifier of embeddings",
    "clusterer": "Clusterer",
    **{one.model_type_id: one.title for one in UNTRAINED_TYPES},
}
"""Of the kinds of nodes, in words."""


@dataclass(frozen=True, kw_only=True)
class Palette:
    """By a key of the choice."""

    names: dict[str, str]
    models: dict[str, Using]


def title_of(model_type_id: str) -> str:
    """A kind of node, in words."""
    return TITLES.get(model_type_id, model_type_id)


async def palette_of(visit: Visit) -> Palette:
    """Everything that can be added."""
    own = (await visit.ask("ListModels", page=1, per_page=MOST)).models
    try:
        built_in = (await visit.ask("ListModels", user_app_id=BUILT_IN, page=1, per_page=MOST)).models
    except Refused:
        built_in = []
    models: dict[str, Using] = {}
    names: dict[str, str] = {}
    for model in [*_ready(own), *_ready(built_in)]:
        is_ours = (model.user_id, model.app_id) != (PUBLIC_APP.user_id, PUBLIC_APP.app_id)
        if is_operator(model.model_type_id) and is_ours:
            continue  # the kind itself is offered
        key = f"{model.user_id}/{model.app_id}/{model.id}"
        models[key] = _using(model)
        where = "" if is_ours else " · built in"
        names[key] = f"{model.name or model.id} · {title_of(model.model_type_id)}{where}"
    for one in UNTRAINED_TYPES:
        models[one.model_type_id] = Using(type_id=one.model_type_id)
        names[one.model_type_id] = f"{one.title} · step"
    return Palette(names=names, models=models)


def _ready(models: Iterable[resources_pb2.Model]) -> Iterable[resources_pb2.Model]:
    for model in models:
        is_trained = model.model_version.status.code == status_code_pb2.MODEL_TRAINED
        if kind_of(model.model_type_id) is not None and (is_trained or is_operator(model.model_type_id)):
            yield model


def _using(model: resources_pb2.Model) -> Using:
    return Using(type_id=model.model_type_id, id=model.id, user_id=model.user_id, app_id=model.app_id)


async def completed(visit: Visit, draft: Draft) -> Draft:
    """The draft with the type of every model, for one that came as YAML. Raises Refused where a model is not there."""
    return Draft(nodes=tuple([await _typed(visit, node) for node in draft.nodes]))


async def _typed(visit: Visit, node: Node) -> Node:
    if not node.model.id:
        if node.model.type_id not in KINDS or not is_operator(node.model.type_id):
            raise InvalidWorkflow(
                f"Node {node.id!r}: a model of type {node.model.type_id!r} must be named by model_id."
            )
        return node
    app = visit.user_app
    if node.model.app_id:
        app = resources_pb2.UserAppIDSet(user_id=node.model.user_id or app.user_id, app_id=node.model.app_id)
    model = (await visit.ask("GetModel", user_app_id=app, model_id=node.model.id)).model
    return replace(node, model=replace(_using(model), version_id=node.model.version_id))


async def with_models(visit: Visit, draft: Draft) -> Draft:
    """The draft with a model of the app for every operator that has none: one is made where the app has none yet."""
    return Draft(nodes=tuple([await _with_model(visit, node) for node in draft.nodes]))


async def _with_model(visit: Visit, node: Node) -> Node:
    if node.model.id:
        return node
    type_id = node.model.type_id
    found = (await visit.ask("ListModels", model_type_id=type_id, page=1, per_page=MOST)).models
    own = next((each for each in found if each.app_id == visit.needed_app().app_id and each.id == type_id), None)
    if own is None:
        order = resources_pb2.Model(id=type_id, model_type_id=type_id)
        own = (await visit.ask("PostModels", models=[order])).model
    if not own.model_version.id:
        versions = [resources_pb2.ModelVersion()]
        own = (await visit.ask("PostModelVersions", model_id=own.id, model_versions=versions)).model
    return replace(node, model=Using(type_id=type_id, id=own.id, user_id=own.user_id, app_id=own.app_id))
