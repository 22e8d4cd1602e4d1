"""A base workflow is changed: the new index is built beside the old one, and takes over in one moment."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from index_shop import COLOURS, Shop, plain
from small_embedder import publish, write_embedder

from lehr.errors import InvalidModel, InvalidRequest, InvalidWorkflow, Untrained
from lehr.jobs.runs import perform
from lehr.learn.bundle import read_bundle
from lehr.learn.data.decode import Decoded
from lehr.learn.data.packs import Source
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.statuses import status
from lehr.services.apps import Apps
from lehr.services.indexing import KIND
from lehr.services.models import Models
from lehr.services.reindex import BaseWorkflows
from lehr.store import embeddings as rows
from lehr.store import models as model_rows
from lehr.store import versions as version_rows
from lehr.store.embeddings import State
from lehr.store.versions import ModelVersionRef


@pytest.fixture
def bases(db, queue) -> BaseWorkflows:
    return BaseWorkflows(db=db, queue=queue)


@pytest.fixture
def other(db, shop, tmp_path) -> ModelVersionRef:
    """A second embedder of the app."""
    folder = write_embedder(tmp_path / "other", turn=3)
    return publish(db, shop.bundles, folder, ModelVersionRef(shop.ref, "turned", "second"))


def workflow(workflow_id: str, *nodes: tuple[str, str, str]) -> resources_pb2.Workflow:
    """Nodes are (id, model, version); each takes the one before as its input."""
    made = resources_pb2.Workflow(id=workflow_id)
    for number, (node_id, model_id, version_id) in enumerate(nodes):
        node = made.nodes.add(id=node_id)
        node.model.id, node.model.model_version.id = model_id, version_id
        if number:
            node.node_inputs.add(node_id=nodes[number - 1][0])
    return made


def filled(shop: Shop) -> None:
    shop.add(**{name: plain(colour) for name, colour in COLOURS.items()})
    shop.work()


def states(shop: Shop) -> dict[int, State]:
    with shop.db.read() as tx:
        return {each.number: each.state for each in rows.of_app(tx, shop.ref)}


def test_searches_answer_from_the_old_index_until_the_new_one_is_complete(shop, bases, other):
    filled(shop)
    bases.change(shop.ref, [workflow("mine", ("embed", "turned", "second"))], "merge", reindex=True)
    assert states(shop) == {1: State.SERVING, 2: State.BUILDING}
    assert shop.inputs.count(shop.ref).to_reindex == 4
    assert shop.inputs.count(shop.ref).reindexed == 0
    assert shop.neighbours.embedder(shop.ref).model_id == "colours"
    assert shop.nearest(plain(COLOURS["blue"])) == ["blue"]
    shop.work()
    assert states(shop) == {1: State.KEPT, 2: State.SERVING}
    assert shop.neighbours.embedder(shop.ref) == other
    assert shop.nearest(plain(COLOURS["blue"])) == ["blue"]
    count = shop.inputs.count(shop.ref)
    assert (count.reindexed, count.to_reindex, count.reindexing, count.reindex_errors) == (4, 0, 0, 0)
    report = json.loads(shop.serving().report)
    assert report["to"] == str(other)
    assert report["common_neighbours"] == 1.0  # four inputs have three neighbours each, whatever the order


def test_what_a_training_decoded_is_not_decoded_again(shop, bases, other):
    """The pack here is of other colours than the pictures: the new index shows them."""
    filled(shop)
    side = read_bundle(shop.bundles.folder_of(other)).preprocessing.image_size
    pixels = np.full((side, side, 3), COLOURS["blue"], np.uint8)
    blue = Decoded(pixels=pixels, width=side, height=side, format="PNG")
    red = plain(COLOURS["red"])
    shop.packs.build([Source(hashlib.sha256(red).hexdigest(), lambda: red)], side, decode=lambda *_: blue)
    bases.change(shop.ref, [workflow("mine", ("embed", "turned", "second"))], "merge", reindex=True)
    shop.work()
    assert set(shop.nearest(plain(COLOURS["blue"]), k=2)) == {"red", "blue"}


def test_asking_again_changes_nothing(shop, bases, other):
    filled(shop)
    wanted = workflow("mine", ("embed", "turned", "second"))
    first = bases.change(shop.ref, [wanted], "merge", reindex=True)
    again = bases.change(shop.ref, [wanted], "merge", reindex=True)
    assert again.version.id == first.version.id
    assert states(shop) == {1: State.SERVING, 2: State.BUILDING}
    shop.work()
    bases.change(shop.ref, [wanted], "merge", reindex=True)
    shop.work()
    assert states(shop) == {1: State.KEPT, 2: State.SERVING}


def test_an_index_that_was_put_aside_is_taken_back_and_completed(shop, bases, other):
    filled(shop)
    bases.change(shop.ref, [workflow("mine", ("embed", "turned", "second"))], "merge", reindex=True)
    shop.work()
    shop.add(grey=plain((128, 128, 128)))
    shop.inputs.delete(shop.ref, ["red"])
    shop.work()
    bases.change(shop.ref, [workflow("by-colour", ("embed", "colours", "first"))], "merge", reindex=True)
    assert shop.inputs.count(shop.ref).to_reindex == 1
    shop.work()
    assert states(shop) == {1: State.SERVING, 2: State.KEPT}
    assert set(shop.nearest(plain((128, 128, 128)), k=9)) == {"grey", "green", "blue", "white"}
    with shop.db.read() as tx:
        assert rows.count(tx, shop.serving().key) == 4


def test_the_last_but_one_goes_when_a_third_takes_over_and_by_request(shop, bases, other, tmp_path):
    filled(shop)
    bases.change(shop.ref, [workflow("mine", ("embed", "turned", "second"))], "merge", reindex=True)
    shop.work()
    third = write_embedder(tmp_path / "third", turn=5)
    publish(shop.db, shop.bundles, third, ModelVersionRef(shop.ref, "turned", "third"))
    bases.change(shop.ref, [workflow("mine", ("embed", "turned", "third"))], "overwrite", reindex=True)
    shop.work()
    assert states(shop) == {1: State.DROPPED, 2: State.KEPT, 3: State.SERVING}
    bases.drop(shop.ref, 2)
    shop.work()
    with shop.db.read() as tx:
        assert [rows.count(tx, each.key) for each in rows.of_app(tx, shop.ref)] == [4, 0, 0]
    with pytest.raises(InvalidRequest, match="Generation 3 answers the searches"):
        bases.drop(shop.ref, 3)


def test_the_last_embedder_of_the_graph_is_the_base(shop, bases, other):
    filled(shop)
    nodes = (("embed", "bbb5f41425b8468d9b7a554ff10f8581", ""), ("my-custom-model", "turned", "second"))
    with pytest.raises(InvalidWorkflow, match="Node 'embed': there is no model"):  # nothing is built in here
        bases.change(shop.ref, [workflow("General", *nodes)], "merge", reindex=True)
    nodes = (("embed", "colours", "first"), ("my-custom-model", "turned", "second"))
    done = bases.change(shop.ref, [workflow("General", *nodes)], "merge", reindex=True)
    assert [node.id for node in done.nodes] == ["embed", "my-custom-model"]
    shop.work()
    assert shop.neighbours.embedder(shop.ref) == other


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([], "has 0 nodes"),
        ([("embed", "nothing", "")], "Node 'embed': there is no model 'nothing'"),
        ([("embed", "colours", "ninth")], "model 'colours' has no version 'ninth'"),
        ([("a", "colours", ""), ("a", "colours", "")], "needs an id of its own"),
    ],
)
def test_a_workflow_that_cannot_be_is_refused_by_its_node(shop, bases, nodes, words):
    with pytest.raises(InvalidWorkflow, match=words):
        bases.change(shop.ref, [workflow("mine", *nodes)], "merge", reindex=True)


def test_a_version_that_is_not_trained_cannot_be_the_base(shop, bases):
    version = resources_pb2.ModelVersion(id="raw", status=status(status_code_pb2.MODEL_UNTRAINED))
    with shop.db.write() as tx:
        version_rows.insert(tx, shop.ref, "colours", version)
    with pytest.raises(Untrained, match="'raw' of model 'colours' is not trained"):
        bases.change(shop.ref, [workflow("mine", ("embed", "colours", "raw"))], "merge", reindex=True)


def test_an_app_is_patched_to_another_base(shop, queue, other):
    filled(shop)
    apps = Apps(db=shop.db, queue=queue)
    make_base_only(shop, other)
    change = resources_pb2.App(id=shop.ref.app_id, default_workflow=resources_pb2.Workflow(id="by-turn"))
    [app] = apps.patch(shop.ref.user_id, [change], "overwrite")
    assert (app.default_workflow.id, app.default_workflow.app_id) == ("by-turn", shop.ref.app_id)
    shop.work()
    assert states(shop) == {1: State.SERVING}, "without reindex the index stays what it is"
    apps.patch(shop.ref.user_id, [change], "overwrite", reindex=True)
    shop.work()
    assert shop.neighbours.embedder(shop.ref) == other
    change.default_workflow.id = "nowhere"
    with pytest.raises(InvalidRequest, match="default_workflow 'nowhere' does not exist"):
        apps.patch(shop.ref.user_id, [change], "overwrite")


def make_base_only(shop: Shop, vref: ModelVersionRef) -> None:
    from lehr.store import workflows as workflow_rows

    with shop.db.write() as tx:
        workflow_rows.insert(tx, shop.ref, [workflow("by-turn", ("embed", vref.model_id, vref.version_id))])


def test_the_embedder_of_an_index_cannot_be_deleted_from_under_it(shop, queue, other, other_ref: AppRef):
    filled(shop)
    models = Models(db=shop.db, queue=queue)
    with pytest.raises(InvalidModel, match="makes the vectors that searches in app 'flowers' compare"):
        models.delete_version(shop.ref, "colours", "first")
    with pytest.raises(InvalidModel, match="cannot be deleted"):
        models.delete(shop.ref, ["colours"])
    models.delete_version(shop.ref, "turned", "second")
    Apps(db=shop.db, queue=queue).delete(shop.ref)


def test_classifiers_on_the_old_base_say_so(shop, bases, other):
    filled(shop)
    version = resources_pb2.ModelVersion(id="v", status=status(status_code_pb2.MODEL_TRAINED))
    version.train_info.params.update({"base_embed_model": "colours"})
    with shop.db.write() as tx:
        model_rows.insert(tx, shop.ref, [resources_pb2.Model(id="head", model_type_id="embedding-classifier")])
        version_rows.insert(tx, shop.ref, "head", version)
    bases.change(shop.ref, [workflow("mine", ("embed", "turned", "second"))], "merge", reindex=True)
    shop.work()
    with shop.db.read() as tx:
        told = version_rows.get(tx, ModelVersionRef(shop.ref, "head", "v"))
    assert "the app's base embedder is now turned/second" in told.status.details
    assert told.status.code == status_code_pb2.MODEL_TRAINED


def test_a_switch_waits_for_what_arrived_meanwhile(shop, bases, other):
    filled(shop)
    bases.change(shop.ref, [workflow("mine", ("embed", "turned", "second"))], "merge", reindex=True)
    shop.add(late=plain((10, 10, 10)))
    shop.work()
    with shop.db.read() as tx:
        assert rows.count(tx, shop.serving().key) == 5
    assert shop.serving().number == 2


def test_an_embedder_that_is_gone_fails_the_job_and_says_why(shop, bases, other):
    filled(shop)
    bases.change(shop.ref, [workflow("mine", ("embed", "turned", "second"))], "merge", reindex=True)
    with shop.db.write() as tx:
        version_rows.delete(tx, other)
    job = shop.queue.claim("test", kinds=[KIND])
    perform(shop.queue, job, shop.indexing.run, {KIND: shop.indexing.failed})
    with shop.db.read() as tx:
        assert "was deleted" in shop.queue.view(tx, job.id).error
    assert states(shop)[2] is State.DROPPED
    assert shop.nearest(plain(COLOURS["blue"])) == ["blue"]
