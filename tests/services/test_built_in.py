"""The content of clarifai/main: there for everybody, from the first start on, changed by nobody."""

import time

import pytest

from lehr.errors import InvalidRequest, Loading, MissingScope, NotFound
from lehr.jobs.queue import State
from lehr.protocol import resources_pb2 as r
from lehr.protocol.ids import PUBLIC_APP, AppRef
from lehr.services.apps import OF_EVERYBODY, Apps
from lehr.services.built_in import SUBJECT, BuiltIn
from lehr.services.built_in_catalogue import MODELS
from lehr.services.bundles import Bundles
from lehr.services.located import version_of
from lehr.services.models import Models
from lehr.services.paging import paging
from lehr.store import workflows as workflow_rows
from lehr.store.models import ModelFilter
from lehr.store.versions import ModelVersionRef


@pytest.fixture
def built_in(db, queue):
    built_in = BuiltIn(db=db, queue=queue)
    built_in.ensure()
    return built_in


def test_a_second_start_finds_everything_and_changes_nothing(db, queue, built_in):
    models = Models(db=db, queue=queue)
    before = models.list_of(PUBLIC_APP, paging(1, 100), filters=ModelFilter())
    began = time.perf_counter()
    built_in.ensure()
    assert time.perf_counter() - began < 0.2
    assert models.list_of(PUBLIC_APP, paging(1, 100), filters=ModelFilter()) == before
    assert {model.id for model in before} == {model.id for model in MODELS}


def test_rows_of_an_earlier_revision_are_brought_up_to_date(db, queue, built_in, monkeypatch):
    monkeypatch.setattr("lehr.services.built_in.REVISION", 2)
    BuiltIn(db=db, queue=queue).ensure()
    general = Models(db=db, queue=queue).get(PUBLIC_APP, "general-image-recognition")
    concepts = general.model_version.output_info.data.concepts
    assert (len(concepts), concepts[0].name, concepts[985].name) == (1000, "tench", "daisy")


def test_workflows_have_the_nodes_that_clients_expect(db, built_in):
    with db.read() as tx:
        general = workflow_rows.get(tx, PUBLIC_APP, "General")
        empty = workflow_rows.get(tx, PUBLIC_APP, "Empty")
    assert [node.id for node in general.nodes] == ["general-v1.5-concept", "general-v1.5-embed", "general-v1.5-cluster"]
    assert [ni.node_id for ni in general.nodes[2].node_inputs] == ["general-v1.5-embed"]
    assert not empty.nodes


@pytest.mark.parametrize(
    ("model_id", "version_id", "found"),
    [
        ("bbb5f41425b8468d9b7a554ff10f8581", "bb7ac05c86be42d38b67bc473d33", "general-image-embedding"),
        ("aaa03c23b3724a16a56b629203edc62c", "aa7f35c01e0642fda5cf400f543e7c40", "general-image-recognition"),
        ("cccbe437d6e54e2bb911c6aa292fb072", "", "general-clusterering"),
    ],
)
def test_ids_of_old_clients_mean_the_built_in_models(db, ref, built_in, model_id, version_id, found):
    bare = r.Model(id=model_id, model_version=r.ModelVersion(id=version_id))
    whole = r.Model(id=model_id, user_id="clarifai", app_id="main", model_version=bare.model_version)
    wanted = next(model for model in MODELS if model.id == found)
    with db.read() as tx:
        for named in (bare, whole):
            vref = version_of(tx, ref, named)
            assert vref == ModelVersionRef(PUBLIC_APP, found, wanted.version_id if version_id else "")


def test_a_model_of_ones_own_goes_before_a_built_in_one_of_the_same_id(db, queue, ref, built_in):
    models = Models(db=db, queue=queue)
    models.create(ref, [r.Model(id="general-image-embedding", model_type_id="visual-embedder")])
    assert models.get(ref, "general-image-embedding").user_id == ref.user_id
    assert models.get(ref, "general-image-recognition").user_id == "clarifai"


@pytest.mark.parametrize(
    "rpc", ["PostModels", "DeleteModel", "PatchWorkflows", "DeleteApp", "PostInputs", "ListInputs"]
)
def test_nobody_changes_what_is_built_in_not_even_a_user_of_that_name(db, queue, built_in, rpc):
    apps = Apps(db=db, queue=queue)
    for user_id in ("ana", "clarifai"):
        with pytest.raises(MissingScope, match="an app of your own"):
            apps.admit(rpc, user_id, "clarifai", PUBLIC_APP)


def test_everybody_may_read_it_and_nothing_else_of_that_user(db, queue, built_in):
    apps = Apps(db=db, queue=queue)
    for rpc in OF_EVERYBODY:
        apps.admit(rpc, "ana", "clarifai", PUBLIC_APP)
    for ref in (None, AppRef("clarifai", "other")):
        with pytest.raises(NotFound):
            apps.admit("GetModel", "ana", "clarifai", ref)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (r.App(id="a"), "Empty"),
        (r.App(id="a", default_workflow_id="General"), "General"),
        (r.App(id="a", default_workflow=r.Workflow(id="Universal", app_id="main", user_id="clarifai")), "Universal"),
    ],
)
def test_a_new_app_takes_the_workflow_that_its_maker_names(db, queue, asked, found):
    [app] = Apps(db=db, queue=queue).create("ana", [asked])
    workflow = app.default_workflow
    assert (workflow.id, workflow.user_id, workflow.app_id) == (found, "clarifai", "main")
    assert app.default_workflow_id == found


def test_a_new_app_on_a_workflow_that_is_not_there_is_refused_with_those_there_are(db, queue):
    with pytest.raises(InvalidRequest, match="Empty, General, Universal"):
        Apps(db=db, queue=queue).create("ana", [r.App(id="a", default_workflow_id="Face")])


def test_the_first_to_need_a_built_in_model_has_it_made_and_hears_that_it_is_loading(
    db, queue, blobs, built_in, tmp_path
):
    bundles = Bundles(db=db, blobs=blobs, cache=tmp_path / "cache", prepare=built_in.prepare)
    vref = ModelVersionRef(PUBLIC_APP, MODELS[0].id, MODELS[0].version_id)
    for _ in range(3):
        with pytest.raises(Loading, match="Try again"):
            bundles.folder_of(vref)
    with db.read() as tx:
        [job] = queue.of_subject(tx, SUBJECT)
    assert job.state is State.QUEUED
