"""A day with the real `clarifai` package: everything it offers for images on the training path, unmodified."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from clarifai.client.app import App
from clarifai.client.input import Inputs
from clarifai.client.model import Model
from clarifai.client.user import User
from clarifai.errors import UserError
from clarifai_grpc.grpc.api import resources_pb2 as r
from clarifai_grpc.grpc.api.status import status_code_pb2 as codes
from faces import GRPC, Client
from lehr_server import TOKEN, Server, wait_until

# the package itself leaves files open
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]

TEMPLATE = "classification_cifar10_v1"
CONCEPTS = tuple(f"digit-{n}" for n in range(10))
NUM_TRAIN, NUM_KEPT_BACK = 400, 60


@pytest.fixture
def folder(tmp_path: Path, digits, monkeypatch) -> Path:
    """Digits as PNG files in class folders, as an SDK user has them; also the working folder, where the SDK writes."""
    for index, (name, concept, png) in enumerate(digits(NUM_TRAIN + NUM_KEPT_BACK)):
        path = tmp_path / ("train" if index < NUM_TRAIN else "kept-back") / concept / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pictures_on_the_web(folder: Path) -> Iterator[str]:
    """The address of a web server on this machine that serves the folder."""
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=str(folder))) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()


def test_the_python_package_from_an_empty_account_to_predictions_and_back(server, folder, pictures_on_the_web):
    user = User(user_id="lehr", base_url=server.base, pat=TOKEN)
    app = user.create_app("sdk-story", base_workflow="Empty")
    assert "sdk-story" in [listed.id for listed in user.list_apps()]
    uploads_class_folders(app, folder)
    labels_are_read_back(app)
    model = app.create_model("which-digit", model_type_id="visual-classifier")
    reads_templates_and_parameters(model)
    version_id = trains(model)
    predicts(server, model, folder, pictures_on_the_web)
    lists_versions_and_deletes_one(app, model, version_id)
    uses_a_key_of_the_app_alone(server)
    takes_inputs_away(app)
    user.delete_app("sdk-story")
    assert "sdk-story" not in [listed.id for listed in user.list_apps()]


def uploads_class_folders(app: App, folder: Path) -> None:
    dataset = app.create_dataset("train")
    for concept in CONCEPTS:
        dataset.upload_from_folder(str(folder / "train" / concept), input_type="image", labels=True)
    assert [listed.id for listed in app.list_datasets()] == ["train"]
    assert app.get_input_count() == NUM_TRAIN
    assert sum(1 for _ in dataset.list_inputs()) == NUM_TRAIN
    again = app.dataset("train")
    again.upload_from_folder(str(folder / "train" / CONCEPTS[0]), input_type="image", labels=True)
    assert app.get_input_count() == NUM_TRAIN  # the same ids again change nothing
    made = dataset.create_version(description="as uploaded")
    assert [listed.version.id for listed in dataset.list_versions()] == [made.version.id]


def labels_are_read_back(app: App) -> None:
    assert {concept.id for concept in app.list_concepts()} == set(CONCEPTS)
    listed = list(app.inputs().list_inputs(input_type="image"))
    assert len(listed) == NUM_TRAIN
    [downloaded] = app.inputs().download_inputs(listed[:1])
    assert downloaded.startswith(b"\x89PNG")
    notes = list(app.inputs().list_annotations(batch_input=listed[:5]))
    assert {note.input_id for note in notes} == {item.id for item in listed[:5]}
    assert {len(note.data.concepts) for note in notes} == {1}


def reads_templates_and_parameters(model: Model) -> None:
    templates = model.list_training_templates()
    assert {TEMPLATE, "Lehr_Lite"} <= set(templates)
    for template in templates:
        params = model.get_params(template=template, save_to=f"{template}.yaml")
        assert params["train_params"]["template"] == template
        for name in params["train_params"]:
            if name != "template":
                info = model.get_param_info(name)
                assert info["param"] == name
                assert info["description"]
        assert Path(f"{template}.yaml").read_text()


def trains(model: Model) -> str:
    """Sends back every default as it was advertised, but for four."""
    model.get_params(template=TEMPLATE)
    with pytest.raises(UserError):
        model.update_params(no_such_parameter=1)
    model.update_params(num_epochs=12.5)
    model.update_params(dataset_id="train", concepts=list(CONCEPTS))
    with pytest.raises(Exception, match=r"num_epochs.*12\.5"):
        model.train()
    model.update_params(num_epochs=12, width_multiplier=0.25, batch_size=32)
    version_id = model.train()
    going_on = (codes.MODEL_QUEUED_FOR_TRAINING, codes.MODEL_TRAINING)
    wait_until(lambda: model.training_status(version_id).code not in going_on, 240, "the training")
    status = model.training_status(version_id, training_logs=True)
    assert status.code == codes.MODEL_TRAINED, status
    assert "epoch 12/12" in Path(f"{version_id}.log").read_text()
    return version_id


def predicts(server: Server, model: Model, folder: Path, web: str) -> None:
    paths = sorted((folder / "kept-back").rglob("*.png"))
    right = sum(
        best(model.predict_by_bytes(path.read_bytes(), input_type="image")) == path.parent.name for path in paths
    )
    assert right / len(paths) > 0.7
    path = paths[0]
    by_bytes = model.predict_by_bytes(path.read_bytes())
    address = f"{web}/{path.relative_to(folder)}"
    for answer in (model.predict_by_url(address), model.predict_by_filepath(str(path))):
        assert shown(answer) == shown(by_bytes)
    few = model.predict_by_url(address, output_config={"max_concepts": 3})
    assert shown(few) == shown(by_bytes)[:3]
    floor = shown(by_bytes)[1][1]
    above = model.predict_by_url(address, output_config={"min_value": floor})
    assert shown(above) == shown(by_bytes)[:2]
    one = model.predict_by_url(address, output_config={"select_concepts": [r.Concept(id="digit-3")]})
    assert [concept_id for concept_id, _ in shown(one)] == ["digit-3"]
    fresh = Model(model_id="which-digit", app_id="sdk-story", user_id="lehr", base_url=server.base, pat=TOKEN)
    assert shown(fresh.predict_by_bytes(path.read_bytes())) == shown(by_bytes)


def best(answer) -> str:
    return answer.outputs[0].data.concepts[0].id


def shown(answer) -> list[tuple[str, float]]:
    return [(concept.id, concept.value) for concept in answer.outputs[0].data.concepts]


def lists_versions_and_deletes_one(app: App, model: Model, version_id: str) -> None:
    model.update_params(num_epochs=200)
    running = model.train()
    assert {version.model_version.id for version in model.list_versions()} == {running, version_id, *untrained(model)}
    model.delete_version(running)
    left = {version.model_version.id for version in model.list_versions()}
    assert running not in left
    assert version_id in left
    assert [listed.id for listed in app.list_models(only_in_app=True)] == ["which-digit"]
    assert app.model("which-digit").model_info.model_version.id == version_id


def untrained(model: Model) -> list[str]:
    """The version that came with the model, if the server lists it."""
    listed = [version.model_version for version in model.list_versions()]
    return [version.id for version in listed if version.status.code == codes.MODEL_UNTRAINED]


def uses_a_key_of_the_app_alone(server: Server) -> None:
    me = Client(GRPC, server.base, TOKEN)
    [key] = me.must("PostKeys", keys=[r.Key(description="sdk", scopes=["All"], apps=[r.App(id="sdk-story")])]).keys
    confined = App(app_id="sdk-story", user_id="lehr", base_url=server.base, pat=key.id)
    assert confined.get_input_count() == NUM_TRAIN
    me.must("PostApps", apps=[r.App(id="sdk-other")])
    other = App(app_id="sdk-other", user_id="lehr", base_url=server.base, pat=key.id)
    with pytest.raises(Exception, match="Invalid API key"):
        list(other.inputs().list_inputs())
    stranger = App(app_id="sdk-story", user_id="lehr", base_url=server.base, pat="0" * 32)
    with pytest.raises(Exception, match="Invalid API key or Invalid API key/application pair"):
        list(stranger.list_concepts())


def takes_inputs_away(app: App) -> None:
    inputs: Inputs = app.inputs()
    first, second, *_ = list(inputs.list_inputs(page_no=1, per_page=5))
    inputs.patch_inputs([r.Input(id=first.id, data=r.Data(concepts=[r.Concept(id="digit-9", value=1)]))])
    assert "digit-9" in [concept.id for concept in inputs.get_input(first.id).data.concepts]
    [note] = list(inputs.list_annotations(batch_input=[second]))
    inputs.delete_annotations(input_ids=[second.id], annotation_ids=[note.id])
    assert list(inputs.list_annotations(batch_input=[second])) == []
    inputs.delete_inputs([first, second])
    assert app.get_input_count() == NUM_TRAIN - 2
    assert not inputs.get_input(first.id).id
