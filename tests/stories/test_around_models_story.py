"""What surrounds a trained model, through the published clients: exported, streamed, logged, shared, published."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from clarifai.client.app import App
from clarifai.client.model import Model
from clarifai_grpc.grpc.api import resources_pb2 as r
from clarifai_grpc.grpc.api import service_pb2
from clarifai_grpc.grpc.api.status import status_code_pb2 as codes
from faces import FACES, GRPC, REST, Client
from google.protobuf.struct_pb2 import Struct
from lehr_server import TOKEN, wait_until

# the package itself leaves files open
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]
PARAMS = {"template": "classification_cifar10_v1", "num_epochs": 2, "batch_size": 16, "width_multiplier": 0.125}


@pytest.fixture(scope="module")
def house(server, digits) -> SimpleNamespace:
    """An app with a small trained classifier."""
    Client(GRPC, server.base, TOKEN).must("PostApps", apps=[r.App(id="around")])
    client = Client(GRPC, server.base, TOKEN, "around")
    items = digits(120)
    client.must(
        "PostInputs",
        inputs=[
            r.Input(id=name, data=r.Data(image=r.Image(base64=png), concepts=[r.Concept(id=concept, value=1)]))
            for name, concept, png in items
        ],
    )
    wait_until(lambda: client.must("GetInputCount").counts.processed >= len(items), what="processing the inputs")
    client.must("PostModels", models=[r.Model(id="digits", model_type_id="visual-classifier")])
    params = Struct()
    params.update(PARAMS)
    order = r.ModelVersion(train_info=r.TrainInfo(params=params))
    version = client.must("PostModelVersions", model_id="digits", model_versions=[order]).model.model_version
    named = {"model_id": "digits", "version_id": version.id}
    log = follow(client, version.id)

    def status() -> int:
        return client.must("GetModelVersion", **named).model_version.status.code

    wait_until(lambda: status() not in (codes.MODEL_QUEUED_FOR_TRAINING, codes.MODEL_TRAINING), 240, "the training")
    assert status() == codes.MODEL_TRAINED
    return SimpleNamespace(server=server, client=client, named=named, version=version.id, items=items, log=log)


def follow(client: Client, version_id: str) -> SimpleNamespace:
    """Listens to the training's log from a thread, from before its first line."""
    heard = SimpleNamespace(lines=[], thread=None)
    request = service_pb2.StreamLogEntriesRequest(
        user_app_id=client.who, model_id="digits", model_version_id=version_id, log_type="training"
    )
    stream = client.stub.StreamLogEntries(request, metadata=(("authorization", f"Key {client.token}"),))

    def listen() -> None:
        for answer in stream:
            assert answer.status.code == codes.SUCCESS
            heard.lines.extend(entry.message for entry in answer.log_entries)

    heard.thread = threading.Thread(target=listen, daemon=True)
    heard.thread.start()
    return heard


def test_the_log_came_line_by_line_until_the_end(house):
    house.log.thread.join(20)
    assert not house.log.thread.is_alive(), "the stream ends with the training"
    for face in FACES:
        client = Client(face, house.server.base, TOKEN, "around")
        asked = {"model_id": "digits", "model_version_id": house.version, "log_type": "training"}
        listed = [entry.message for entry in client.must("ListLogEntries", **asked, per_page=1000).log_entries]
        assert listed == house.log.lines
        assert len(listed) > 3


def test_the_python_package_exports_a_model_that_runs_without_lehr(house, tmp_path):
    model = Model(
        model_id="digits",
        model_version={"id": house.version},
        user_id="lehr",
        app_id="around",
        base_url=house.server.base,
        pat=TOKEN,
    )
    model.export(str(tmp_path / "sdk"))
    with zipfile.ZipFile(tmp_path / "sdk" / "model.tar") as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "model")
    name, _, png = house.items[0]
    (tmp_path / "picture.png").write_bytes(png)
    command = [sys.executable, "-I", str(tmp_path / "model" / "predict.py"), str(tmp_path / "picture.png")]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    served = predicted(house.client, house.named, name)
    values = {concept["id"]: concept["value"] for concept in told["concepts"]}
    np.testing.assert_allclose([values[c.id] for c in served], [c.value for c in served], atol=0.05)
    model.export(str(tmp_path / "again"))
    assert (tmp_path / "again" / "model.tar").read_bytes() == (tmp_path / "sdk" / "model.tar").read_bytes()


def predicted(client: Client, named: dict, input_id: str):
    [output] = client.must("PostModelOutputs", **named, inputs=[r.Input(id=input_id)]).outputs
    return output.data.concepts


@pytest.mark.parametrize("face", FACES)
def test_an_export_is_asked_for_and_fetched_in_parts(house, face):
    client = Client(face, house.server.base, TOKEN, "around")
    client.must("PutModelVersionExports", **house.named)

    def export():
        found = client.must("GetModelVersionExport", **house.named).export
        return found if found.status.code == codes.MODEL_EXPORTED else None

    done = wait_until(export, 120, "the export")
    whole = httpx.get(done.url)
    assert len(whole.content) == done.size
    part = httpx.get(done.url, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert httpx.get(done.url.split("?")[0]).status_code == 401
    refused = client.ask("GetModelVersionExport", model_id="digits", version_id="nothing")
    assert refused.status.code == codes.MODEL_DOES_NOT_EXIST


def test_predictions_are_streamed_over_both_faces(house):
    inputs = [r.Input(data=r.Data(image=r.Image(base64=png))) for _, _, png in house.items[:3]]
    first = service_pb2.PostModelOutputsRequest(user_app_id=house.client.who, **house.named, inputs=inputs[:1])
    later = service_pb2.PostModelOutputsRequest(inputs=inputs[1:])
    key = (("authorization", f"Key {TOKEN}"),)
    answers = list(house.client.stub.StreamModelOutputs(iter([first, later]), metadata=key))
    assert [len(answer.outputs) for answer in answers] == [1, 2]
    assert all(output.data.concepts for answer in answers for output in answer.outputs)
    other = service_pb2.PostModelOutputsRequest(user_app_id=r.UserAppIDSet(user_id="lehr", app_id="x"), inputs=inputs)
    *_, last = house.client.stub.StreamModelOutputs(iter([first, other]), metadata=key)
    assert "all requests of a stream are about one app" in last.status.details
    whole = service_pb2.PostModelOutputsRequest(user_app_id=house.client.who, **house.named, inputs=inputs)
    [generated] = house.client.stub.GenerateModelOutputs(whole, metadata=key)
    assert [len(generated.outputs), generated.status.code] == [3, codes.SUCCESS]

    http = Client(REST, house.server.base, TOKEN, "around").http
    body = {"inputs": [{"id": house.items[0][0]}]}
    path = f"/v2/users/lehr/apps/around/models/digits/versions/{house.version}/outputs/generate"
    lines = http.post(path, json=body).text.splitlines()
    assert [json.loads(line)["status"]["code"] for line in lines] == [10000]
    whom = {"user_id": "lehr", "app_id": "around"}
    lines = http.post("/v2/models/outputs/stream", json=body | house.named | {"user_app_id": whom}).text.splitlines()
    assert len(json.loads(lines[0])["outputs"][0]["data"]["concepts"]) == 10


@pytest.mark.parametrize("face", FACES)
def test_what_surrounds_a_model_is_read_and_changed(house, face):
    client = Client(face, house.server.base, TOKEN, "around")
    assert client.must("PatchModelToolkits", model_id="digits", toolkits=["Lehr"], action="overwrite").toolkits == [
        "Lehr"
    ]
    assert client.must("PatchModelUseCases", model_id="digits", usecases=["mail"], action="overwrite").usecases
    assert client.must("PatchModelLanguages", model_id="digits", languages=["en"], action="merge").languages == ["en"]
    consents = client.must("PatchModelCheckConsents", model_id="digits", check_consents=["a"], action="overwrite")
    assert consents.check_consents == ["a"]
    query = r.ModelQuery(name="dig*")
    assert [model.id for model in client.must("PostModelsSearches", model_query=query).models] == ["digits"]
    inputs = client.must("ListModelInputs", model_id="digits", per_page=50, page=3).inputs
    assert len(inputs) == 20
    [*examples] = client.must(
        "ListModelVersionInputExamples", model_id="digits", model_version_id=house.version
    ).model_version_input_examples
    assert len(examples) == 10
    one = client.must(
        "GetModelVersionInputExample",
        model_id="digits",
        model_version_id=house.version,
        example_id=examples[0].id,
    ).model_version_input_example
    assert httpx.get(one.data.image.url, headers={"Authorization": f"Key {TOKEN}"}).content.startswith(b"\x89PNG")
    [reference] = client.must("ListModelReferences", model_id="digits").model_references
    assert reference.url == "https://arxiv.org/abs/2404.00498"
    assert client.must("GetResourceCounts").models == 1


def test_the_python_package_relates_concepts(house):
    app = App(user_id="lehr", app_id="around", base_url=house.server.base, pat=TOKEN)
    app.create_concept_relations("digit-1", ["digit-2", "digit-3"], ["synonym", "hypernym"])
    assert sorted(each.predicate for each in app.search_concept_relations(concept_id="digit-1")) == [
        "hypernym",
        "synonym",
    ]
    assert len(list(app.search_concept_relations(predicate="hypernym", show_tree=True))) == 1
    app.delete_concept_relations("digit-1")
    assert list(app.search_concept_relations()) == []
    app.delete_concept_relations("digit-1")


@pytest.mark.parametrize("face", FACES)
def test_another_user_gets_what_is_given_and_nothing_else(house, face):
    other, secret = f"guest-{face.lower()}", f"guest-token-{face}"
    key_of_another_user(house.server, other, secret)
    guest = Client(face, house.server.base, secret, "around", user_id="lehr")
    picture = [r.Input(data=r.Data(image=r.Image(base64=house.items[0][2])))]

    def code(rpc: str, **fields) -> int:
        return guest.ask(rpc, **fields).status.code

    assert code("PostModelOutputs", **house.named, inputs=picture) == codes.CONN_DOES_NOT_EXIST
    published = [service_pb2.ModelVersionPublishRequest(version_id=house.version)]
    house.client.must("PostModelVersionsPublish", model_id="digits", publications=published)
    assert code("PostModelOutputs", **house.named, inputs=picture) == codes.SUCCESS
    assert guest.must("GetModel", **house.named).model.model_version.train_log == ""
    assert code("PostModelOutputs", **house.named, inputs=[r.Input(id=house.items[0][0])]) == codes.CONN_DOES_NOT_EXIST
    [listed] = house.client.must("ListInputs", per_page=1).inputs
    assert code("PostModelOutputs", **house.named, inputs=[listed]) == codes.CONN_DOES_NOT_EXIST  # address and all
    assert code("ListInputs") == codes.CONN_DOES_NOT_EXIST
    withdrawn = [service_pb2.ModelVersionUnpublishRequest(version_id=house.version)]
    house.client.must("PostModelVersionsUnPublish", model_id="digits", publications=withdrawn)
    assert code("PostModelOutputs", **house.named, inputs=picture) == codes.CONN_DOES_NOT_EXIST

    [given] = house.client.must(
        "PostCollaborators",
        collaborators=[r.Collaborator(user=r.User(id=other), scopes=["Inputs_Get", "Annotations_Get", "Concepts_Get"])],
    ).collaborators
    assert code("ListInputs") == codes.CONN_INSUFFICIENT_SCOPES
    more = r.Collaborator(id=given.id, scopes=["Apps_Get", "Collaborators_Get", "Models_Get", "Datasets_Get"])
    house.client.must("PatchCollaborators", collaborators=[more], action="merge")
    [one] = guest.must("ListInputs", per_page=1).inputs
    image = httpx.get(one.data.image.url, headers={"Authorization": f"Key {secret}"})
    assert image.content.startswith(b"\x89PNG")
    assert code("DeleteInputs", ids=[one.id]) == codes.CONN_INSUFFICIENT_SCOPES
    assert code("PostKeys", keys=[r.Key(type="personal_access_token")]) == codes.CONN_DOES_NOT_EXIST
    own = Client(face, house.server.base, secret, user_id=other)
    assert [each.app.id for each in own.must("ListCollaborations").collaborations] == ["around"]
    guest.must("DeleteCollaborators", collaborator_ids=[other])
    assert code("ListInputs") == codes.CONN_DOES_NOT_EXIST


def key_of_another_user(server, user_id: str, secret: str) -> None:
    """As an operator makes one: a user of the same store, with a token."""
    from lehr.services.users import Users
    from lehr.store.db import Database

    db = Database(f"sqlite:///{Path(server.home) / 'lehr.db'}")
    Users(db=db).welcome(user_id, secret)
    db.close()


def test_the_address_v2_itself_is_answered_and_not_sent_elsewhere(house):
    answer = httpx.get(f"{house.server.base}/v2", follow_redirects=False)
    assert (answer.status_code, answer.json()["status"]["code"]) == (404, codes.CONN_BAD_REQUEST_FORMAT)
    licences = httpx.get(f"{house.server.base}/v2/open_source_licenses").json()["licenses"]
    assert {"MIT", "Apache-2.0"} <= set(licences)
    scopes = httpx.get(
        f"{house.server.base}/v2/users/lehr/scopes?key_type=app_specific_key",
        headers={"Authorization": f"Key {TOKEN}"},
    ).json()
    assert "Predict" in {each["scope"] for each in scopes["scope_deps"]}
