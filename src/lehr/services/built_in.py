"""The content of `clarifai/main`: rows made when the server starts, and the job that makes what its models run on.

Everybody may read and use it, nobody may change it (services/apps.py). Making the rows needs neither network nor torch.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from sqlalchemy import Connection

from lehr.errors import Duplicate, Loading, Untrained
from lehr.jobs.queue import JobView, Queue, State
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import PUBLIC_APP
from lehr.protocol.statuses import status
from lehr.protocol.structs import from_struct, to_struct
from lehr.services.built_in_catalogue import (
    BY_MODEL_ID,
    CONCEPTS,
    MODELS,
    WITH_BUNDLE,
    WORKFLOWS,
    BuiltInModel,
    BuiltInNode,
    BuiltInWorkflow,
)
from lehr.store import apps as app_rows
from lehr.store import bundles as bundle_rows
from lehr.store import concepts as concept_rows
from lehr.store import models as model_rows
from lehr.store import users as user_rows
from lehr.store import versions as version_rows
from lehr.store import workflows as workflow_rows
from lehr.store.db import Database
from lehr.store.versions import ModelVersionRef

KIND = "build-base"
REVISION = 1
"""Raise it with every change of the catalogue: the rows are then brought up to date at the next start."""
SUBJECT = f"{PUBLIC_APP.user_id}/{PUBLIC_APP.app_id}/base"
VERSIONS = tuple(ModelVersionRef(PUBLIC_APP, name, BY_MODEL_ID[name].version_id) for name in WITH_BUNDLE)
"""What runs on a bundle."""
_RETRY_AFTER_MS = 60_000
_SYNSETS, _LEMMAS = "timm/data/_info/imagenet_synsets.txt", "timm/data/_info/imagenet_synset_to_lemma.txt"


@dataclass(frozen=True, kw_only=True)
class BuiltIn:
    """Needs the store and the queue."""

    db: Database
    queue: Queue

    def ensure(self) -> None:
        """Makes what is missing, once; every later start only looks. Two servers may do so at the same time."""
        with self.db.read() as tx:
            if _revision(tx) == REVISION:
                return
        try:
            with self.db.write() as tx:
                _make(tx)
        except Duplicate:  # another server was faster
            with self.db.read() as tx:
                if _revision(tx) != REVISION:
                    raise

    def prepare(self, vref: ModelVersionRef) -> Loading | Untrained:
        """Has a built-in version's bundle made, unless that is under way. Answers what to tell whoever needed it."""
        with self.db.write() as tx:
            newest = next(iter(self.queue.of_subject(tx, SUBJECT)), None)
            if newest is not None and newest.state is State.FAILED and not _is_long_ago(newest):
                return Untrained(f"Model {vref.model_id!r} of clarifai/main could not be prepared: {newest.error}")
            want(tx, self.queue)
        return Loading(
            f"Model {vref.model_id!r} of clarifai/main is being prepared on this machine, which happens once. "
            "Try again in a few seconds."
        )


def want(tx: Connection, queue: Queue) -> None:
    """Has the bundles made that are missing, unless that is under way: whoever is going to need them says so early."""
    if all(bundle_rows.get(tx, vref) is not None for vref in VERSIONS):
        return
    if all(view.state.is_final for view in queue.of_subject(tx, SUBJECT)):
        queue.add(tx, KIND, {}, SUBJECT)


def node_model(model_id: str) -> resources_pb2.Model:
    """A built-in model as a workflow's node names it."""
    model = BY_MODEL_ID[model_id]
    shown = resources_pb2.Model(
        id=model.id,
        name=model.name,
        user_id=PUBLIC_APP.user_id,
        app_id=PUBLIC_APP.app_id,
        model_type_id=model.model_type_id,
    )
    shown.model_version.id = model.version_id
    shown.model_version.user_id, shown.model_version.app_id = PUBLIC_APP.user_id, PUBLIC_APP.app_id
    return shown


def _is_long_ago(view: JobView) -> bool:
    return view.finished_at is None or time.time() * 1000 - view.finished_at > _RETRY_AFTER_MS


def _revision(tx: Connection) -> object:
    app = app_rows.get(tx, PUBLIC_APP)
    return None if app is None else from_struct(app.metadata).get("revision")


def _make(tx: Connection) -> None:
    app = app_rows.get(tx, PUBLIC_APP)
    if user_rows.get(tx, PUBLIC_APP.user_id) is None:
        user_rows.insert(tx, resources_pb2.User(id=PUBLIC_APP.user_id, first_name="Built in"))
    if app is None:
        app = _app()
        app_rows.insert(tx, app)
    concepts = _imagenet_concepts()
    _add_concepts(tx, concepts)
    for model in MODELS:
        _put_model(tx, model, concepts)
    for workflow in WORKFLOWS:
        _put_workflow(tx, workflow)
    app.metadata.CopyFrom(to_struct({"revision": REVISION}))
    app_rows.update(tx, app)


def _app() -> resources_pb2.App:
    app = resources_pb2.App(
        id=PUBLIC_APP.app_id,
        user_id=PUBLIC_APP.user_id,
        name="Built-in models and workflows",
        default_language="en",
        description="Usable from every app, changed by nobody. All of it stands on the weights that come with Lehr.",
    )
    app.visibility.gettable = resources_pb2.Visibility.PUBLIC
    return app


def _add_concepts(tx: Connection, concepts: list[resources_pb2.Concept]) -> None:
    known: set[str] = set()
    for start in range(0, len(concepts), 500):
        known |= set(concept_rows.get_many(tx, PUBLIC_APP, [concept.id for concept in concepts[start : start + 500]]))
    concept_rows.insert(tx, PUBLIC_APP, [concept for concept in concepts if concept.id not in known])


def _put_model(tx: Connection, model: BuiltInModel, concepts: list[resources_pb2.Concept]) -> None:
    """Both rows, new or brought up to date."""
    row = resources_pb2.Model(
        id=model.id,
        name=model.name,
        user_id=PUBLIC_APP.user_id,
        app_id=PUBLIC_APP.app_id,
        model_type_id=model.model_type_id,
        description=model.description,
    )
    row.visibility.gettable = resources_pb2.Visibility.PUBLIC
    version = _version(model, concepts if model.id == CONCEPTS else [])
    if model_rows.get(tx, PUBLIC_APP, model.id) is None:
        model_rows.insert(tx, PUBLIC_APP, [row])
    else:
        model_rows.update(tx, PUBLIC_APP, row)
    vref = ModelVersionRef(PUBLIC_APP, model.id, model.version_id)
    if version_rows.get(tx, vref) is None:
        version_rows.insert(tx, PUBLIC_APP, model.id, version)
    else:
        version_rows.update(tx, vref, version)


def _version(model: BuiltInModel, concepts: list[resources_pb2.Concept]) -> resources_pb2.ModelVersion:
    version = resources_pb2.ModelVersion(
        id=model.version_id,
        user_id=PUBLIC_APP.user_id,
        app_id=PUBLIC_APP.app_id,
        description=model.description,
        license="Apache-2.0",
        active_concept_count=len(concepts),
    )
    version.status.CopyFrom(status(status_code_pb2.MODEL_TRAINED))
    version.visibility.gettable = resources_pb2.Visibility.PUBLIC
    version.output_info.data.concepts.extend(concepts)
    if model.params:
        version.output_info.params.CopyFrom(to_struct(model.params))
    return version


def _put_workflow(tx: Connection, workflow: BuiltInWorkflow) -> None:
    version = resources_pb2.WorkflowVersion(
        id=workflow.version_id,
        workflow_id=workflow.id,
        user_id=PUBLIC_APP.user_id,
        app_id=PUBLIC_APP.app_id,
        description=workflow.description,
        nodes=[_node(node) for node in workflow.nodes],
    )
    version.visibility.gettable = resources_pb2.Visibility.PUBLIC
    row = resources_pb2.Workflow(
        id=workflow.id,
        user_id=PUBLIC_APP.user_id,
        app_id=PUBLIC_APP.app_id,
        description=workflow.description,
        nodes=version.nodes,
        visibility=version.visibility,
        version=version,
    )
    is_known = workflow_rows.get(tx, PUBLIC_APP, workflow.id) is not None
    (workflow_rows.update(tx, PUBLIC_APP, row) if is_known else workflow_rows.insert(tx, PUBLIC_APP, [row]))
    if workflow_rows.get_version(tx, PUBLIC_APP, workflow.id, workflow.version_id) is None:
        workflow_rows.add_version(tx, PUBLIC_APP, version)
    else:
        workflow_rows.update_version(tx, PUBLIC_APP, version)


def _node(node: BuiltInNode) -> resources_pb2.WorkflowNode:
    inputs = [resources_pb2.NodeInput(node_id=before) for before in node.inputs]
    return resources_pb2.WorkflowNode(id=node.id, model=node_model(node.model_id), node_inputs=inputs)


def _imagenet_concepts() -> list[resources_pb2.Concept]:
    """ImageNet's 1000 kinds, in the order of the network's outputs: WordNet's id as id, its first word as name.

    The lists come in timm's wheel, read as files: importing timm would import torch. The words are WordNet's.
    """
    timm = distribution("timm")
    ids = Path(str(timm.locate_file(_SYNSETS))).read_text().split()
    lines = Path(str(timm.locate_file(_LEMMAS))).read_text().splitlines()
    lemmas = dict(line.split("\t", 1) for line in lines if "\t" in line)
    return [
        resources_pb2.Concept(
            id=concept_id,
            name=lemmas[concept_id].split(",")[0].strip(),
            definition=lemmas[concept_id],
            language="en",
            user_id=PUBLIC_APP.user_id,
            app_id=PUBLIC_APP.app_id,
        )
        for concept_id in ids
    ]
