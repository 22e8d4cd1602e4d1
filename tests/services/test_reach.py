"""Nobody reaches what is not theirs by naming it inside of something that is."""

from __future__ import annotations

import pytest

from lehr.api.base_workflows import read
from lehr.errors import BadFormat, InvalidRequest, InvalidWorkflow
from lehr.protocol import resources_pb2, service_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.structs import to_struct
from lehr.services.apps import Apps
from lehr.services.base_workflow import embedder_of, workflow_of
from lehr.services.bases import Bases
from lehr.services.models import Models
from lehr.services.reindex import BaseWorkflows
from lehr.services.training import Orders
from lehr.services.workflows import Workflows
from lehr.store import apps as app_rows
from lehr.store import users

EVES = AppRef("eve", "shop")


@pytest.fixture
def apps(db, queue) -> Apps:
    """Ana's app `cars` has a workflow `private`; Eve is another user with an app of her own."""
    with db.write() as tx:
        users.insert(tx, resources_pb2.User(id="eve"))
        app_rows.insert(tx, resources_pb2.App(id="shop", user_id="eve", name="shop"))
    return Apps(db=db, queue=queue)


@pytest.fixture
def private(db, queue, other_ref, apps) -> resources_pb2.Workflow:
    make_threshold(db, queue, other_ref)
    [made] = Workflows(db=db).create(other_ref, [workflow("private", AppRef("", ""))])
    return made


def make_threshold(db, queue, ref: AppRef) -> None:
    """A model that needs no training."""
    Models(db=db, queue=queue).create(ref, [resources_pb2.Model(id="sieve", model_type_id="concept-threshold")])
    info = resources_pb2.OutputInfo(params=to_struct({"concept_threshold_type": "GREATER_THAN"}))
    info.data.concepts.add(id="cat", value=0.5)
    request = service_pb2.PostModelVersionsRequest(model_versions=[resources_pb2.ModelVersion(output_info=info)])
    Orders(db=db, queue=queue, bases=Bases(db=db, bundles=None)).request(ref, "sieve", request)


def workflow(workflow_id: str, of: AppRef) -> resources_pb2.Workflow:
    made = resources_pb2.Workflow(id=workflow_id)
    node = made.nodes.add(id="sift")
    node.model.id, node.model.user_id, node.model.app_id = "sieve", of.user_id, of.app_id
    return made


def patch(apps: Apps, ref: AppRef, *, confined: bool = False, **words: str) -> resources_pb2.App:
    change = resources_pb2.App(id=ref.app_id, default_workflow=resources_pb2.Workflow(**words))
    [app] = apps.patch(ref.user_id, [change], "overwrite", confined=confined)
    return app


def test_a_collaborators_base_workflow_names_no_model_of_the_owners_other_apps(db, queue, ref, other_ref, private):
    bases = BaseWorkflows(db=db, queue=queue)
    with pytest.raises(InvalidWorkflow, match="Node 'sift': Model does not exist, or is not yours to use"):
        bases.change(ref, [workflow("mine", other_ref)], "merge", reindex=False, confined=True)
    made = bases.change(ref, [workflow("mine", other_ref)], "merge", reindex=False)
    assert bases.change(ref, [made], "merge", reindex=False, confined=True) == made, "nothing of it is changed"


def test_a_collaborators_default_workflow_is_of_the_app_or_built_in(apps, ref, other_ref, private):
    own = {"user_id": "ana", "app_id": other_ref.app_id}
    with pytest.raises(InvalidRequest, match="'private' does not exist in ana/cars"):
        patch(apps, ref, confined=True, id="private", **own)
    change = resources_pb2.App(id=ref.app_id, default_workflow=workflow("mine", other_ref))
    with pytest.raises(InvalidWorkflow, match="not yours to use"):
        apps.patch("ana", [change], "overwrite", confined=True)
    assert patch(apps, ref, id="private", **own).default_workflow.app_id == "cars", "the owner may"


def test_another_users_workflow_is_not_taken_over_under_an_id_of_ones_own(db, queue, apps, other_ref, private):
    make_threshold(db, queue, EVES)
    Workflows(db=db).create(EVES, [workflow("private", EVES)])
    patch(apps, EVES, id="private")
    with pytest.raises(InvalidRequest, match="default_workflow names no workflow"):
        patch(apps, EVES, user_id="ana", app_id="cars")
    with db.write() as tx:  # however it came to be in the row
        app = app_rows.get(tx, EVES)
        app.default_workflow.user_id, app.default_workflow.app_id = "ana", "cars"
        app_rows.update(tx, app)
        assert workflow_of(tx, EVES, app) is None
        assert embedder_of(tx, EVES) is None


def test_a_node_that_is_given_another_model_keeps_nothing_of_the_old_one(db, queue, other_ref, private):
    Models(db=db, queue=queue).create(other_ref, [resources_pb2.Model(id="crop", model_type_id="image-crop")])
    versions = [resources_pb2.ModelVersion()]
    Orders(db=db, queue=queue, bases=Bases(db=db, bundles=None)).request(
        other_ref, "crop", service_pb2.PostModelVersionsRequest(model_versions=versions)
    )
    change = resources_pb2.Workflow(id="private")
    change.nodes.add(id="sift").model.id = "crop"
    workflows = Workflows(db=db)
    [done] = workflows.patch(other_ref, [change], "merge")
    assert (done.nodes[0].model.id, done.nodes[0].model.model_type_id) == ("crop", "image-crop")
    [again] = workflows.patch(other_ref, [change], "merge")
    assert again.version.id == done.version.id, "the same once more makes no version"


def test_a_body_that_nests_without_end_is_a_bad_body():
    with pytest.raises(BadFormat, match="the body is no JSON"):
        read(b'{"workflows":' + b"[" * 200_000)
