"""Workflows as people use them: from a YAML file, by the published package and over both faces, changed and deleted."""

from __future__ import annotations

import io

import pytest
import yaml
from clarifai_grpc.grpc.api import resources_pb2 as r
from clarifai_grpc.grpc.api.status import status_code_pb2 as codes
from faces import FACES, GRPC, Client
from lehr_server import TOKEN

CROP_AND_SAY = """
workflow:
  id: tile-and-say
  nodes:
    - id: tiles
      model:
        model_id: left-and-right
        model_type_id: image-tiling-operator
        output_info: {params: {num_rows: 1, num_columns: 2}}
    - id: say
      model: {model_id: general-image-recognition, user_id: clarifai, app_id: main}
      node_inputs: [{node_id: tiles}]
    - id: sure
      model:
        model_id: the-sure-ones
        model_type_id: concept-threshold
        output_info: {params: {concept_threshold_type: GREATER_THAN, threshold: 0.03}}
      node_inputs: [{node_id: say}]
"""
GENERAL = "general-image-recognition"
OLD_EMBEDDER = r.Model(id="bbb5f41425b8468d9b7a554ff10f8581", user_id="clarifai", app_id="main")


def node(name: str, model: r.Model, *inputs: str, **more) -> r.WorkflowNode:
    return r.WorkflowNode(id=name, model=model, node_inputs=[r.NodeInput(node_id=one) for one in inputs], **more)


def built_in(model_id: str) -> r.Model:
    return r.Model(id=model_id, user_id="clarifai", app_id="main")


@pytest.fixture(scope="module")
def photos() -> dict[str, bytes]:
    """scikit-learn's two photographs, as JPEG."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    made = {}
    loaded = load_sample_images()
    for name, pixels in zip(loaded.filenames, loaded.images, strict=True):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=95)
        made[name.rsplit("/", 1)[-1].removesuffix(".jpg")] = file.getvalue()
    return made


def of_bytes(data: bytes, name: str = "") -> r.Input:
    return r.Input(id=name, data=r.Data(image=r.Image(base64=data)))


@pytest.mark.parametrize("face", FACES)
def test_a_workflow_is_made_read_changed_and_deleted(server, face):
    app_id = f"graphs-{face.lower()}"
    Client(face, server.base, TOKEN).must("PostApps", apps=[r.App(id=app_id)])
    client = Client(face, server.base, TOKEN, app_id)
    client.must("PostModels", models=[r.Model(id="crop", model_type_id="image-crop")])
    [made] = client.must(
        "PostWorkflows", workflows=[r.Workflow(id="mine", nodes=[node("embed", OLD_EMBEDDER)], description="one")]
    ).workflows
    assert made.version.id == client.must("GetWorkflow", workflow_id="mine").workflow.version.id
    assert (made.nodes[0].model.id, made.nodes[0].model.app_id) == ("general-image-embedding", "main")
    assert made.nodes[0].model.model_version.id == "bb186755eda04f9cbb6fe32e816be104"

    more = [node("cluster", built_in("general-clusterering"), "embed")]
    [changed] = client.must("PatchWorkflows", workflows=[r.Workflow(id="mine", nodes=more)], action="merge").workflows
    assert [one.id for one in changed.nodes] == ["embed", "cluster"]
    versions = client.must("ListWorkflowVersions", workflow_id="mine").workflow_versions
    assert [one.id for one in versions] == [changed.version.id, made.version.id]
    first = client.must("GetWorkflowVersion", workflow_id="mine", workflow_version_id=made.version.id)
    assert [one.id for one in first.workflow_version.nodes] == ["embed"]

    said = r.WorkflowVersion(id=made.version.id, description="the first")
    client.must("PatchWorkflowVersions", workflow_id="mine", workflow_versions=[said], action="overwrite")
    client.must("PostWorkflowVersionsPublish", workflow_id="mine", publications=[{"version_id": made.version.id}])
    shown = client.must("GetWorkflowVersion", workflow_id="mine", workflow_version_id=made.version.id).workflow_version
    assert (shown.description, shown.visibility.gettable) == ("the first", r.Visibility.PUBLIC)
    client.must("PostWorkflowVersionsUnPublish", workflow_id="mine", publications=[{"version_id": made.version.id}])

    client.must("DeleteWorkflowVersions", workflow_id="mine", workflow_version_ids=[changed.version.id])
    assert [one.id for one in client.must("GetWorkflow", workflow_id="mine").workflow.nodes] == ["embed"]
    client.must("PatchWorkflowIds", ids=[{"id": "mine", "new_id": "ours"}], action="overwrite")
    assert [one.id for one in client.must("ListWorkflows").workflows] == ["ours"]
    assert client.ask("GetWorkflow", workflow_id="mine").status.code == codes.WORKFLOW_DOES_NOT_EXIST
    client.must("DeleteWorkflow", workflow_id="ours")
    client.must("DeleteWorkflows", ids=[])
    assert not client.must("ListWorkflows").workflows
    assert client.ask("DeleteWorkflow", workflow_id="ours").status.code == codes.WORKFLOW_DOES_NOT_EXIST


@pytest.mark.parametrize("face", FACES)
def test_a_graph_that_cannot_run_is_refused_with_the_name_of_the_node(server, face):
    app_id = f"wrong-{face.lower()}"
    Client(face, server.base, TOKEN).must("PostApps", apps=[r.App(id=app_id)])
    client = Client(face, server.base, TOKEN, app_id)
    client.must("PostModels", models=[r.Model(id="untrained", model_type_id="visual-classifier")])
    wrong = {
        "behind": [node("embed", OLD_EMBEDDER), node("behind", built_in(GENERAL), "embed")],
        "nowhere": [node("nowhere", r.Model(id="nobody"))],
        "raw": [node("raw", r.Model(id="untrained"))],
        "foreign": [node("foreign", r.Model(id="x", user_id="somebody", app_id="else"))],
        "old": [node("old", r.Model(id=GENERAL, model_version=r.ModelVersion(id="0" * 32)))],
    }
    for name, nodes in wrong.items():
        refused = client.ask("PostWorkflows", workflows=[r.Workflow(id=f"w-{name}", nodes=nodes)]).status
        assert refused.code in (codes.WORKFLOW_INVALID_GRAPH, codes.WORKFLOW_REQUIRE_TRAINED_MODEL)
        assert f"'{name}'" in refused.details
    assert not client.must("ListWorkflows").workflows
    twice = r.Workflow(id="twice", nodes=[node("embed", OLD_EMBEDDER)])
    client.must("PostWorkflows", workflows=[twice])
    again = client.ask("PostWorkflows", workflows=[twice]).status
    assert again.code == codes.WORKFLOW_DUPLICATE
    assert "already exists" in again.details


@pytest.mark.parametrize("face", FACES)
def test_nothing_of_what_is_built_in_can_be_changed(server, face):
    client = Client(face, server.base, TOKEN, "main", user_id="clarifai")
    assert {one.id for one in client.must("ListWorkflows").workflows} == {"Empty", "General", "Universal"}
    assert client.must("GetModel", model_id=GENERAL).model.model_version.active_concept_count == 1000
    for rpc, fields in (
        ("PostModels", {"models": [r.Model(id="mine", model_type_id="image-crop")]}),
        ("DeleteModels", {"delete_all": True}),
        ("DeleteWorkflow", {"workflow_id": "General"}),
        ("PostInputs", {"inputs": [r.Input(data=r.Data(image=r.Image(url="http://example.com/x.jpg")))]}),
    ):
        assert client.ask(rpc, **fields).status.code == codes.CONN_INSUFFICIENT_SCOPES, rpc


def test_an_operator_with_a_wrong_configuration_is_refused_when_it_is_made(server):
    client = Client(GRPC, server.base, TOKEN, "operators")
    Client(GRPC, server.base, TOKEN).must("PostApps", apps=[r.App(id="operators")])
    model = r.Model(id="crop", model_type_id="image-crop")
    model.output_info.params.update({"margin": -1})
    refused = client.ask("PostModels", models=[model]).status
    assert (refused.code, "margin is a number from 0.1" in refused.details) == (21202, True)
    model.output_info.params.update({"margin": 1.3})
    made = client.must("PostModels", models=[model]).model
    assert made.model_version.status.code == codes.MODEL_TRAINED
    again = client.must("PostModelVersions", model_id="crop", model_versions=[{}]).model.model_version
    assert (again.status.code, again.output_info.params["margin"]) == (codes.MODEL_TRAINED, 1.3)


@pytest.mark.parametrize("face", FACES)
def test_a_state_is_begun_and_named_again_in_the_next_requests(server, face):
    app_id = f"states-{face.lower()}"
    Client(face, server.base, TOKEN).must("PostApps", apps=[r.App(id=app_id)])
    client = Client(face, server.base, TOKEN, app_id)
    sure = r.Model(id="sure", model_type_id="concept-threshold")
    sure.output_info.params.update({"concept_threshold_type": "GREATER_THAN", "threshold": 0.5})
    client.must("PostModels", models=[sure])
    client.must("PostWorkflows", workflows=[r.Workflow(id="pass", nodes=[node("sure", r.Model(id="sure"))])])
    seen = r.Input(data=r.Data(concepts=[r.Concept(id="cat", value=0.9), r.Concept(id="dog", value=0.1)]))
    seen.data.image.base64 = b"\xff\xd8\xff\xe0 nobody looks at it"

    def passed(**state):
        answer = client.ask("PostWorkflowResults", workflow_id="pass", inputs=[seen], **state)
        if answer.status.code == codes.SUCCESS:
            assert [concept.id for concept in answer.results[0].outputs[0].data.concepts] == ["cat"]
        return answer

    assert not passed().HasField("workflow_state")
    begun = passed(workflow_state={"id": "init"}).workflow_state.id
    assert begun not in ("", "init")
    assert passed(workflow_state={"id": begun}).workflow_state.id == begun
    assert passed(workflow_state={"id": "init"}).workflow_state.id != begun
    refused = passed(workflow_state={"id": "no such/id"}).status
    assert (refused.code, "Workflow state id" in refused.details) == (40001, True)


@pytest.mark.slow  # the built-in models are prepared first, once
@pytest.mark.timeout(900)
def test_the_published_package_makes_runs_and_writes_out_a_workflow(server, photos, tmp_path, monkeypatch):
    from clarifai.client.user import User
    from clarifai.client.workflow import Workflow

    monkeypatch.setattr("clarifai.client.workflow.DEFAULT_BASE", server.base)
    user = User(user_id="lehr", base_url=server.base, pat=TOKEN)
    app = user.create_app("by-yaml", base_workflow="General")
    config = tmp_path / "workflow.yml"
    config.write_text(CROP_AND_SAY)
    workflow = app.create_workflow(str(config), display=False)
    [result] = workflow.predict_by_bytes(photos["flower"], "image").results
    tiles, said, sure = result.outputs
    assert len(tiles.data.regions) == 2
    assert all(region.data.image.base64.startswith(b"\xff\xd8") for region in tiles.data.regions)
    assert [region.id for region in said.data.regions] == [region.id for region in tiles.data.regions]
    assert all(len(region.data.concepts) == 20 for region in said.data.regions)
    assert all(concept.value > 0.03 for region in sure.data.regions for concept in region.data.concepts)
    assert any(region.data.concepts for region in sure.data.regions)

    workflow.export(str(tmp_path / "exported.yml"))
    exported = yaml.safe_load((tmp_path / "exported.yml").read_text())
    exported["workflow"]["id"] = "again"
    (tmp_path / "again.yml").write_text(yaml.safe_dump(exported))
    again = app.create_workflow(str(tmp_path / "again.yml"), display=False)
    [same] = again.predict_by_bytes(photos["flower"], "image").results
    assert [output.data.concepts for output in same.outputs] == [output.data.concepts for output in result.outputs]
    assert same.outputs[1].data.regions[0].data == said.data.regions[0].data
    assert len(list(again.list_versions())) == 1
    app.delete_workflow("again")
    assert [one.id for one in app.list_workflows()] == ["tile-and-say"]

    general = Workflow(user_id="clarifai", app_id="main", workflow_id="General", base_url=server.base, pat=TOKEN)
    seen = general.predict_by_bytes(photos["flower"], "image").results[0].outputs
    assert [output.model.id for output in seen] == [GENERAL, "general-image-embedding", "general-clusterering"]
    assert seen[0].data.concepts[0].name == "daisy"
    assert len(seen[1].data.embeddings[0].vector) == 1280
    assert 0 <= int(seen[2].data.clusters[0].id) < 32


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("face", FACES)
def test_built_in_models_answer_under_every_id_that_clients_send(server, photos, face):
    app_id = f"foreign-{face.lower()}"
    Client(face, server.base, TOKEN).must("PostApps", apps=[r.App(id=app_id, default_workflow_id="General")])
    mine, public = (
        Client(face, server.base, TOKEN, app_id),
        Client(face, server.base, TOKEN, "main", user_id="clarifai"),
    )
    inputs = [of_bytes(photos["china"])]
    expected = patient(public, "PostModelOutputs", model_id=GENERAL, inputs=inputs).outputs[0]
    assert expected.data.concepts[0].name == "palace"
    old = patient(mine, "PostModelOutputs", model_id="aaa03c23b3724a16a56b629203edc62c", inputs=inputs).outputs[0]
    assert [one.id for one in old.data.concepts] == [one.id for one in expected.data.concepts]
    assert old.model.app_id == "main"
    named = {} if face == GRPC else {"workflow_id": "General"}  # no route of the published API goes without an id
    default = patient(mine, "PostWorkflowResults", inputs=inputs, output_config={"max_concepts": 3}, **named)
    assert default.workflow.id == "General"
    assert default.results[0].outputs[0].data.concepts[0].name == "palace"
    assert len(default.results[0].outputs[0].data.concepts) == 3


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_bad_picture_does_not_fail_the_others(server, photos):
    client = Client(GRPC, server.base, TOKEN, "main", user_id="clarifai")
    inputs = [of_bytes(photos["china"], "good"), of_bytes(b"no picture at all", "bad"), of_bytes(photos["flower"])]
    answer = patient(client, "PostWorkflowResults", workflow_id="General", inputs=inputs, may_fail=True)
    assert answer.status.code == codes.MIXED_STATUS
    assert [result.status.code for result in answer.results] == [10000, 30002, 10000]
    assert [len(result.outputs) for result in answer.results] == [3, 0, 3]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("face", FACES)
def test_an_annotation_writer_says_the_same_once_however_often_it_runs(server, photos, face):
    app_id = f"writer-{face.lower()}"
    Client(face, server.base, TOKEN).must("PostApps", apps=[r.App(id=app_id)])
    client = Client(face, server.base, TOKEN, app_id)
    client.must("PostInputs", inputs=[of_bytes(photos["flower"], "flower")])
    writer = r.Model(id="write", model_type_id="annotation-writer")
    writer.output_info.params.update({"annotation_status": "ANNOTATION_PENDING"})
    client.must("PostModels", models=[writer])
    nodes = [
        node("say", built_in(GENERAL), suppress_output=True),
        node("write", r.Model(id="write"), "say"),
    ]
    client.must("PostWorkflows", workflows=[r.Workflow(id="annotate", nodes=nodes)])
    for _ in range(2):
        answer = patient(
            client, "PostWorkflowResults", workflow_id="annotate", inputs=[of_bytes(photos["flower"], "flower")]
        )
        assert [output.model.id for output in answer.results[0].outputs] == ["write"]
    [said] = client.must("ListAnnotations", input_ids=["flower"], list_all_annotations=True).annotations
    assert said.status.code == codes.ANNOTATION_PENDING
    assert (said.data.concepts[0].name, said.worker.workflow.id) == ("daisy", "annotate")
    key = (
        Client(face, server.base, TOKEN)
        .must(
            "PostKeys",
            keys=[r.Key(description="p", scopes=["Predict", "Workflows:Get"], apps=[r.App(id=app_id, user_id="lehr")])],
        )
        .keys[0]
    )
    reader = Client(face, server.base, key.id, app_id)
    refused = reader.ask("PostWorkflowResults", workflow_id="annotate", inputs=[of_bytes(photos["flower"])]).status
    assert refused.code == codes.CONN_INSUFFICIENT_SCOPES


def patient(client: Client, rpc: str, *, may_fail: bool = False, **fields):
    """Asks again while a model is loading, as published clients do."""
    import time

    deadline = time.monotonic() + 600
    while True:
        answer = client.ask(rpc, **fields)
        if answer.status.code not in (codes.MODEL_LOADING, codes.MODEL_BUSY_PLEASE_RETRY):
            assert may_fail or answer.status.code == codes.SUCCESS, answer.status
            return answer
        assert time.monotonic() < deadline, answer.status
        time.sleep(0.5)
