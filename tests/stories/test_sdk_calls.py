"""Every call of the real `clarifai` package that a vision user makes has a story; those told nowhere else are here."""

from __future__ import annotations

import ast
import csv
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from clarifai.client.app import App
from clarifai.client.dataset import Dataset
from clarifai.client.input import Inputs
from clarifai.client.model import Model
from clarifai.client.user import User
from clarifai.client.workflow import Workflow
from clarifai_grpc.grpc.api import resources_pb2 as r
from clarifai_grpc.grpc.api.status import status_code_pb2 as codes
from faces import GRPC, Client
from films import BLUE, RED, colours
from google.protobuf.struct_pb2 import Struct
from lehr_server import TOKEN, wait_until

# the package itself leaves files open
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # the first one waits for the training
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

TOLD_IN = {
    "test_sdk_story.py": """create_app create_model list_training_templates get_params update_params get_param_info
        train training_status delete_version list_versions predict_by_bytes predict_by_filepath predict_by_url
        create_dataset dataset upload_from_folder create_version list_inputs list_annotations list_concepts list_models
        list_apps list_datasets get_input_count get_input patch_inputs delete_annotations delete_inputs download_inputs
        model delete_app""",
    "test_around_models_story.py": "export create_concept_relations search_concept_relations delete_concept_relations",
    "test_data_story.py": "upload_dataset get_upload_status archive_zip",
    "test_search_story.py": "query get_input_from_bytes upload_inputs",
    "test_workflow_story.py": "create_workflow list_workflows delete_workflow",
    "test_sdk_calls.py": """app evaluate list_evaluations get_latest_eval get_eval_by_id get_eval_by_dataset
        get_raw_eval
        upload_from_csv merge_dataset patch_app patch_annotations upload_annotations patch_concepts create_concepts
        patch_model patch_version patch_workflow delete_model delete_dataset patch_dataset upload_from_url
        upload_from_bytes get_user_info list_organizations workflow predict load_info get_mask_proto get_bbox_proto""",
}
"""Story to the package's calls that it makes: all of those that end in an RPC of tier A or B."""
BY_ANOTHER = {"get_upload_status"}
"""Calls that are made by an argument of another one: `upload_dataset(get_upload_status=True)`."""


@pytest.mark.parametrize(("story", "calls"), TOLD_IN.items())
def test_each_call_is_made_by_the_story_that_is_said_to_tell_it(story, calls):
    tree = ast.parse((Path(__file__).parent / story).read_text())
    made = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    given = {keyword.arg for node in ast.walk(tree) if isinstance(node, ast.Call) for keyword in node.keywords}
    assert not set(calls.split()) - made - (given & BY_ANOTHER)


@pytest.fixture(scope="module")
def house(server, digits) -> SimpleNamespace:
    """An app with digits, and a small classifier of them."""
    user = User(user_id="lehr", base_url=server.base, pat=TOKEN)
    app = user.create_app("calls", base_workflow="Empty")
    client = Client(GRPC, server.base, TOKEN, "calls")
    items = digits(120)
    client.must("PostDatasets", datasets=[r.Dataset(id="all"), r.Dataset(id="some")])
    inputs = [
        r.Input(
            id=name,
            dataset_ids=["all", *(["some"] if number < 40 else [])],
            data=r.Data(image=r.Image(base64=png), concepts=[r.Concept(id=concept, value=1)]),
        )
        for number, (name, concept, png) in enumerate(items)
    ]
    client.must("PostInputs", inputs=inputs)
    wait_until(lambda: client.must("GetInputCount").counts.processed >= len(items), what="processing the inputs")
    client.must("PostModels", models=[r.Model(id="digits", model_type_id="visual-classifier")])
    params = Struct()
    params.update(
        {"template": "classification_cifar10_v1", "num_epochs": 6, "batch_size": 16, "width_multiplier": 0.125}
    )
    order = r.ModelVersion(train_info=r.TrainInfo(params=params))
    version = client.must("PostModelVersions", model_id="digits", model_versions=[order]).model.model_version

    def status() -> int:
        answer = client.must("GetModelVersion", model_id="digits", version_id=version.id)
        return answer.model_version.status.code

    wait_until(lambda: status() not in (codes.MODEL_QUEUED_FOR_TRAINING, codes.MODEL_TRAINING), 240, "the training")
    assert status() == codes.MODEL_TRAINED
    return SimpleNamespace(server=server, user=user, app=app, client=client, version=version.id, items=items)


def access(house) -> dict:
    return {"user_id": "lehr", "app_id": "calls", "base_url": house.server.base, "pat": TOKEN}


def the_model(house) -> Model:
    return Model(model_id="digits", model_version={"id": house.version}, **access(house))


# -- evaluations -------------------------------------------------------------------------------------------------------


def test_a_model_is_evaluated_and_its_evaluations_are_read(house):
    model = the_model(house)
    dataset = Dataset(dataset_id="some", **access(house))
    frozen = dataset.create_version(description="to measure on")
    [begun] = model.evaluate(dataset=frozen, eval_info={"use_kfold": False})
    first = evaluated(model)
    assert first.id == begun.id
    assert first.ground_truth_dataset.version.id == frozen.version.id
    [second] = model.evaluate(dataset_id="all")
    wait_until(lambda: model.list_evaluations()[0].id == second.id, what="the newest first")
    newest = evaluated(model, binary_metrics=True, confusion_matrix=True, label_counts=True, test_set=True)
    assert newest.id == second.id
    concepts = {concept for _, concept, _ in house.items}
    assert {each.concept.id for each in newest.binary_metrics} == concepts
    for each in newest.binary_metrics:
        for curve in (each.precision_recall_curve, each.roc_curve):
            assert 0.5 in [round(threshold, 2) for threshold in curve.thresholds]
    assert newest.confusion_matrix.matrix
    assert len(newest.label_counts.positive_label_counts) == len(concepts)
    assert all({c.id for c in entry.predicted_concepts} == concepts for entry in newest.test_set)
    assert not model.get_eval_by_id(first.id).test_set  # only what was asked for
    assert 0 < model.get_eval_by_id(first.id).summary.macro_avg_roc_auc <= 1
    assert [each.id for each in model.get_eval_by_dataset(frozen)] == [first.id]

    truth, predicted, classes, inputs = model.get_raw_eval(dataset=frozen)
    assert truth.shape == predicted.shape == (len(inputs), len(classes)) == (40, len(concepts))
    right = np.mean(np.argmax(truth, axis=1) == np.argmax(predicted, axis=1))
    assert right > 2 / len(classes)
    again = house.client.must("PostModelOutputs", model_id="digits", version_id=house.version, inputs=[inputs[0]])
    best = again.outputs[0].data.concepts[0]
    assert classes[int(np.argmax(predicted[0]))] == best.id
    assert predicted[0].max() == pytest.approx(best.value, abs=0.02)


def evaluated(model: Model, **fields):
    """The newest evaluation, once it has ended."""
    return wait_until(lambda: model.get_latest_eval(**fields), 240, "the evaluation")


# -- data in -----------------------------------------------------------------------------------------------------------


def test_files_named_in_a_csv_become_inputs_with_all_its_columns(house, tmp_path):
    rows = []
    for number, (name, concept, png) in enumerate(house.items[:3]):
        path = tmp_path / f"{name}.png"
        path.write_bytes(png)
        rows.append((f"csv{number}", str(path), concept, f"{{'row': {number}}}", f"{10 * number},20"))
    with (tmp_path / "inputs.csv").open("w", newline="") as file:
        written = csv.writer(file, quoting=csv.QUOTE_ALL)
        written.writerow(["inputid", "input", "concepts", "metadata", "geopoints"])
        written.writerows(rows)
    dataset = house.app.create_dataset("from-csv")
    dataset.upload_from_csv(str(tmp_path / "inputs.csv"), input_type="image", csv_type="file_path")
    listed = {item.id: item for item in dataset.list_inputs()}
    assert sorted(listed) == ["csv0", "csv1", "csv2"]
    shown = house.app.inputs().get_input("csv2")
    assert shown.data.metadata["row"] == 2
    assert (shown.data.geo.geo_point.longitude, shown.data.geo.geo_point.latitude) == (20, 20)
    assert [concept.id for concept in shown.data.concepts] == [house.items[2][1]]


def test_texts_in_a_csv_and_what_cannot_be_fetched_are_told_apart(house, tmp_path, caplog):
    (tmp_path / "texts.csv").write_text('"inputid","input","concepts"\n"t0","hello","word"\n"t1","world","word"\n')
    dataset = house.app.create_dataset("texts")
    dataset.upload_from_csv(str(tmp_path / "texts.csv"), input_type="text", csv_type="raw")
    assert sorted(item.id for item in dataset.list_inputs()) == ["t0", "t1"]
    inputs = house.app.inputs()
    with caplog.at_level(logging.DEBUG):
        inputs.upload_from_url("unreachable", image_url="http://127.0.0.1:9/none.png")

    def status():
        return house.client.must("GetInput", input_id="unreachable").input.status

    wait_until(lambda: status().code not in (codes.INPUT_DOWNLOAD_PENDING, codes.INPUT_DOWNLOAD_IN_PROGRESS))
    assert status().code == codes.INPUT_DOWNLOAD_FAILED
    inputs.upload_from_bytes("by-bytes", image_bytes=house.items[0][2], labels=["one"])
    assert [concept.id for concept in inputs.get_input("by-bytes").data.concepts] == ["one"]
    # the same id again: the package looks for these very words
    answer = house.client.ask("PostInputs", inputs=[r.Input(id="by-bytes", data={"text": {"raw": "x"}})])
    assert answer.inputs[0].status.details == "Input has a duplicate ID."
    inputs.delete_inputs([r.Input(id="by-bytes"), r.Input(id="unreachable"), r.Input(id="t0"), r.Input(id="t1")])


def test_boxes_and_masks_are_annotated_read_back_and_changed(house):
    inputs = house.app.inputs()
    name, _, _ = house.items[50]
    box = Inputs.get_bbox_proto(input_id=name, label="stroke", bbox=[0.1, 0.2, 0.5, 0.6])
    assert inputs.upload_annotations([box]) == []
    mask = Inputs.get_mask_proto(input_id=name, label="ink", polygons=[[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]])
    assert inputs.upload_annotations([mask]) == []
    inputs.patch_annotations([r.Annotation(id="nobody", input_id=name)])  # says so in its log, and raises nothing
    noted = [note for note in inputs.list_annotations(batch_input=[r.Input(id=name)]) if note.data.regions]
    [drawn] = [note for note in noted if note.data.regions[0].data.concepts[0].name == "stroke"]
    corner = drawn.data.regions[0].region_info.bounding_box
    assert (corner.left_col, corner.top_row) == pytest.approx((0.1, 0.2))
    [filled] = [note for note in noted if note.id != drawn.id]
    assert len(filled.data.regions[0].region_info.polygon.points) == 3
    wider = r.Region(id=drawn.data.regions[0].id, region_info=drawn.data.regions[0].region_info)
    wider.region_info.bounding_box.right_col = 0.9
    inputs.patch_annotations([r.Annotation(id=drawn.id, input_id=name, data=r.Data(regions=[wider]))], action="merge")
    read = house.client.must("GetAnnotation", input_id=name, annotation_id=drawn.id).annotation
    assert read.data.regions[0].region_info.bounding_box.right_col == pytest.approx(0.9)
    assert read.data.regions[0].data.concepts[0].name == "stroke"
    inputs.delete_annotations(input_ids=[name, name], annotation_ids=[drawn.id, filled.id])
    assert not [note for note in inputs.list_annotations(batch_input=[r.Input(id=name)]) if note.data.regions]


def test_one_data_set_is_merged_into_another(house):
    target = house.app.create_dataset("merged")
    target.merge_dataset("some")
    assert {item.id for item in target.list_inputs()} == {name for name, _, _ in house.items[:40]}
    target.merge_dataset("some")
    assert len(list(target.list_inputs())) == 40
    frozen = target.create_version()
    target.delete_version(frozen.version.id)
    assert list(target.list_versions()) == []
    house.app.patch_dataset("merged", notes="of two", action="merge")
    assert house.client.must("GetDataset", dataset_id="merged").dataset.notes == "of two"
    house.app.delete_dataset("merged")
    assert house.client.ask("GetDataset", dataset_id="merged").status.code != codes.SUCCESS
    assert house.client.must("GetInput", input_id=house.items[0][0]).input.id


# -- words -------------------------------------------------------------------------------------------------------------


def test_concepts_are_made_renamed_and_refused_twice(house):
    house.app.create_concepts(["rose", "fern"], ["Rose", "Fern"])
    inputs = house.app.inputs()
    inputs.patch_concepts(["rose"], labels=["English rose"])
    names = {concept.id: concept.name for concept in house.app.list_concepts()}
    assert (names["rose"], names["fern"]) == ("English rose", "Fern")
    refused = house.client.ask("PostConcepts", concepts=[r.Concept(id="rose")]).status
    assert (refused.code, refused.description) == (40003, "Invalid request")
    assert "duplicate" in refused.details


def test_apps_models_versions_and_people_are_changed_and_read(house):
    patched = house.user.patch_app("calls", base_workflow="General", description="told", sample_ms=500)
    assert isinstance(patched, App)
    read = house.user.app("calls")
    assert (read.app_info.description, read.app_info.sample_ms) == ("told", 500)
    assert house.client.must("GetApp").app.default_workflow.id == "General"
    assert house.user.get_user_info().user.id == "lehr"
    assert house.user.list_organizations() == []
    assert [listed.id for listed in User(user_id="me", base_url=house.server.base, pat=TOKEN).list_apps()]

    house.app.patch_model("digits", description="of digits", notes="n")
    model = the_model(house)
    model.load_info()
    assert (model.model_info.description, model.model_info.notes) == ("of digits", "n")
    model.patch_version(house.version, description="the first")
    told = house.client.must("GetModelVersion", model_id="digits", version_id=house.version).model_version
    assert told.description == "the first"
    house.app.create_model("gone", model_type_id="visual-classifier")
    house.app.delete_model("gone")
    missing = house.client.ask("GetModel", model_id="gone").status
    assert "Model does not exist" in f"{missing.description} {missing.details}"
    with pytest.raises(Exception, match="Model does not exist"):
        house.app.model("gone")
    with pytest.raises(Exception, match="already exists"):
        house.app.create_model("digits", model_type_id="visual-classifier")


# -- workflows and films -----------------------------------------------------------------------------------------------


def test_a_workflow_of_ones_own_model_predicts_and_is_changed(house, tmp_path, monkeypatch):
    monkeypatch.setattr("clarifai.client.workflow.DEFAULT_BASE", house.server.base)
    config = tmp_path / "digits.yml"
    config.write_text(
        "workflow:\n  id: say\n  nodes:\n    - id: digit\n      model:\n"
        f"        model_id: digits\n        model_version_id: {house.version}\n"
    )
    house.app.create_workflow(str(config), display=False)
    workflow = Workflow(workflow_id="say", **access(house))
    pictures = [Inputs.get_input_from_bytes(name, image_bytes=png) for name, _, png in house.items[:3]]
    answer = workflow.predict(pictures)
    direct = the_model(house).predict(pictures)
    assert [result.outputs[0].data.concepts for result in answer.results] == [
        output.data.concepts for output in direct.outputs
    ]
    house.app.patch_workflow("say", description="of one node", action="merge")
    assert house.client.must("GetWorkflow", workflow_id="say").workflow.description == "of one node"
    assert house.app.workflow("say").id == "say"


def test_a_film_is_predicted_frame_by_frame(house, tmp_path):
    path = tmp_path / "two-colours.mp4"
    path.write_bytes(colours((RED, 2), (BLUE, 2)))
    answer = the_model(house).predict_by_filepath(
        str(path), input_type="video", output_config={"sample_ms": 1000, "max_concepts": 2}
    )
    frames = answer.outputs[0].data.frames
    assert [frame.frame_info.time for frame in frames] == [500, 1500, 2500, 3500]
    assert {len(frame.data.concepts) for frame in frames} == {2}


# -- the package's traps -----------------------------------------------------------------------------------------------


def test_what_the_package_turns_into_objects_has_nothing_that_breaks_it(house):
    """It makes a dict of each message: bytes, 64-bit numbers and fine timestamps would break that."""
    from google.protobuf.json_format import MessageToDict

    items = list(house.app.inputs().list_inputs(per_page=10, page_no=1))
    assert len(items) == 10
    answer = house.client.must("ListInputs", per_page=10)
    assert not any(item.data.image.base64 for item in answer.inputs)
    for rpc in ("ListInputs", "ListAnnotations", "ListModels", "ListDatasets", "ListConcepts", "ListWorkflows"):
        for name, when in _moments(MessageToDict(house.client.must(rpc, per_page=20))):
            assert len(when.partition(".")[2].rstrip("Z")) <= 6, (rpc, name, when)
    assert all(app.id for app in house.user.list_apps())
    assert all(model.model_version.id for model in house.app.list_models(only_in_app=True))
    before = house.client.must("GetInputCount").counts.processed
    house.client.must("DeleteInputs")  # sent after every good batch: empty means none
    assert house.client.must("GetInputCount").counts.processed == before
    gone = house.client.ask("GetInput", input_id="never-there").status
    assert (gone.code, gone.description) == (codes.CONN_DOES_NOT_EXIST, "Resource does not exist")
    for rpc in ("ListInputs", "ListConcepts", "ListModels", "ListDatasets", "ListAnnotations"):
        assert len(house.client.must(rpc, page=9999, per_page=10).ListFields()) == 1  # the status alone ends its loop


def _moments(node, name: str = ""):
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _moments(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from _moments(value, name)
    elif name.endswith("At") and isinstance(node, str):
        yield name, node


def test_model_types_are_advertised_as_the_package_reads_them(house):
    listed = house.client.must("ListModelTypes").model_types  # without a page: all must be on the first
    kinds = {kind.id: kind for kind in listed}
    assert {"visual-classifier", "visual-detector", "visual-embedder", "embedding-classifier"} <= set(kinds)
    last = {"visual-classifier": "select_concepts", "visual-detector": "detection_threshold"}
    for kind in (each for each in listed if each.trainable):
        paths = [field.path for field in kind.model_type_fields]
        assert paths
        assert all("." in path for path in paths), kind.id
        assert all(field.placeholder for field in kind.model_type_fields), kind.id
        assert "output_info.output_config.closed_environment" not in paths
        if kind.id in last:  # it keeps the last of them alone
            outputs = [path for path in paths if path.startswith("output_info.params.")]
            assert outputs[-1].rpartition(".")[2] == last[kind.id]
        for template in _templates(kind):
            assert template.model_type_fields, template.id
            for field in template.model_type_fields:
                assert field.path.startswith("train_info.params."), (template.id, field.path)
                assert field.placeholder, (template.id, field.path)
                assert not field.internal_only, (template.id, field.path)
    assert list(kinds["visual-classifier"].input_fields) == ["image"]


def _templates(kind):
    return [
        option
        for field in kind.model_type_fields
        if field.path == "train_info.params.template"
        for option in field.model_type_enum_options
    ]


def test_a_picture_that_cannot_be_fetched_fails_the_answer_and_its_output(house):
    picture = [r.Input(data=r.Data(image=r.Image(url="http://127.0.0.1:9/none.png")))]
    answer = house.client.ask("PostModelOutputs", model_id="digits", version_id=house.version, inputs=picture)
    assert (answer.status.code, answer.outputs[0].status.code) == (30002, 30002)
    empty = house.client.ask("PostInputs", inputs=[r.Input(id="empty")])
    assert empty.status.code in (codes.MIXED_STATUS, codes.FAILURE)
    assert empty.inputs[0].status.code == codes.INPUT_INVALID_ARGUMENT
