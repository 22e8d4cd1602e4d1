"""Everything that can be wrong with a call is answered with a sentence and its code, and the server goes on."""

from __future__ import annotations

import http.server
import io
import json
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import pytest
from clarifai_grpc.grpc.api import resources_pb2 as r
from clarifai_grpc.grpc.api.status import status_code_pb2 as codes
from faces import FACES, GRPC, REST, Client
from google.protobuf.struct_pb2 import Struct
from lehr_server import TOKEN, wait_until

CIFAR = "classification_cifar10_v1"
UNFORESEEN = codes.INTERNAL_UNCATEGORIZED
OFF_LIMITS = (
    "http://127.0.0.2:{port}/digit.png",  # loopback beside the one address that is allowed
    "http://[::1]:{port}/digit.png",
    "http://0.0.0.0:{port}/digit.png",
    "http://169.254.169.254/latest/meta-data/",
    "http://10.0.0.1/digit.png",
    "http://[::ffff:169.254.169.254]/digit.png",
    "http://127.0.0.1:{port}/to-metadata",  # allowed, but it redirects to what is not
    "file:///etc/passwd",
    "ftp://127.0.0.1:{port}/digit.png",
)


@pytest.fixture(autouse=True)
def the_server_goes_on(server) -> Iterator[None]:
    """After every test: ready, and not one line about an error of ours in its log."""
    yield
    assert httpx.get(f"{server.base}/readyz").status_code == 200
    assert "Traceback" not in server.log()


@pytest.fixture(params=FACES)
def client(request, server) -> Client:
    """An app of its own, for each face."""
    return app_of(server.base, f"bad-{request.param.lower()}", request.param)


def app_of(base: str, app_id: str, face: str) -> Client:
    made = Client(face, base, TOKEN).ask("PostApps", apps=[r.App(id=app_id)])
    assert made.status.code in (codes.SUCCESS, codes.CONN_DOES_NOT_EXIST, 40010), made.status
    return Client(face, base, TOKEN, app_id)


def refused(answer, code: int, *words: str) -> None:
    """The code, and a sentence that has the words."""
    assert answer.status.code == code, answer.status
    assert answer.status.code != UNFORESEEN
    for word in words:
        assert word in answer.status.details or word in answer.status.description, answer.status


# -- pictures that are none --------------------------------------------------------------------------------------------


def truncated_jpeg() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(file, "JPEG")
    return file.getvalue()[: len(file.getvalue()) // 2]


def huge_png() -> bytes:
    """A header that promises 30,000 x 30,000 pixels, and a few bytes."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0" * 1000))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in [*parts, (b"IEND", b"")])


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


NO_PICTURES = {
    "truncated": (truncated_jpeg(), "truncated"),
    "text": (b"This is a text file that somebody named cat.png.\n", ""),
    "huge": (huge_png(), "30"),
    "one-byte": (b"\xff", ""),
}


def test_files_that_are_no_pictures_are_taken_in_and_say_what_is_wrong(client):
    inputs = [r.Input(id=name, data=r.Data(image=r.Image(base64=data))) for name, (data, _) in NO_PICTURES.items()]
    client.ask("PostInputs", inputs=inputs)
    wait_until(lambda: client.must("GetInputCount").counts.errors >= len(inputs), what="judging the inputs")
    for name, (_, word) in NO_PICTURES.items():
        status = client.must("GetInput", input_id=name).input.status
        assert status.code in (codes.INPUT_UNSUPPORTED_FORMAT, 30105), f"{name}: {status}"
        assert len(status.details) > 20
        assert word in status.details, status


def test_files_that_are_no_pictures_spoil_no_prediction_beside_them(client, small_model, digits):
    [(_, _, png)] = digits(1)
    bad = [r.Input(id=name, data=r.Data(image=r.Image(base64=data))) for name, (data, _) in NO_PICTURES.items()]
    good = r.Input(id="good", data=r.Data(image=r.Image(base64=png)))
    client = small_model.over(client.face)
    answer = client.ask("PostModelOutputs", model_id="small", inputs=[*bad, good])
    refused(answer, codes.MIXED_STATUS, f"{len(bad)} of {len(bad) + 1}")
    *failed, fine = answer.outputs
    assert {output.status.code for output in failed} == {codes.INPUT_DOWNLOAD_FAILED}
    assert all(len(output.status.details) > 20 and not output.data.concepts for output in failed)
    assert fine.status.code == codes.SUCCESS
    assert fine.data.concepts
    alone = client.ask("PostModelOutputs", model_id="small", inputs=bad[:1])
    refused(alone, codes.INPUT_DOWNLOAD_FAILED, "truncated")


# -- requests that cannot be served ------------------------------------------------------------------------------------


def digit_inputs(digits, number: int) -> list[r.Input]:
    return [r.Input(id=f"i-{index}", data=r.Data(image=r.Image(base64=digits(1)[0][2]))) for index in range(number)]


def test_a_batch_of_129_is_refused_whole(client, digits):
    before = client.must("GetInputCount").counts
    refused(client.ask("PostInputs", inputs=digit_inputs(digits, 129)), codes.INPUT_INVALID_ARGUMENT, "128", "129")
    assert client.must("GetInputCount").counts == before


def test_predictions_that_cannot_be_made_say_why(client, small_model, digits):
    [picture] = digit_inputs(digits, 1)

    def predict(model_id: str, inputs, **more):
        return small_model.over(client.face).ask("PostModelOutputs", model_id=model_id, inputs=inputs, **more)

    refused(predict("small", []), codes.PREDICT_INVALID_REQUEST, "1 to 128", "0")
    refused(predict("small", digit_inputs(digits, 129)), codes.PREDICT_INVALID_REQUEST, "129")
    refused(predict("nobody", [picture]), codes.MODEL_DOES_NOT_EXIST, "Model does not exist", "nobody")
    refused(predict("small", [picture], version_id="f" * 32), codes.MODEL_DOES_NOT_EXIST)
    refused(predict("raw", [picture]), codes.MODEL_UNTRAINED, "no trained version", "PostModelVersions")
    nothing = predict("small", [r.Input(id="nothing", data=r.Data(text=r.Text(raw="hello")))])
    refused(nothing, codes.INPUT_DOWNLOAD_FAILED, "text", "image")
    by_id = predict("small", [r.Input(id="no-such-input")])
    refused(by_id, codes.INPUT_DOWNLOAD_FAILED, "no-such-input")


BAD_PARAMETERS = [
    pytest.param({"template": "no_such_template"}, ["no_such_template", CIFAR, "Lehr_Lite"], id="template"),
    pytest.param({}, ["template", CIFAR], id="no-template"),
    pytest.param({"template": CIFAR, "num_epochs": 2.5}, ["num_epochs", "2.5"], id="half-an-epoch"),
    pytest.param(
        {"template": CIFAR, "num_epochs": 2.5, "batch_size": 0, "lrate": "fast", "widht": 1, "logreg": 7},
        ["num_epochs", "2.5", "batch_size", "0", "lrate", "fast", "widht", "logreg", "7"],
        id="five-at-once",
    ),
    pytest.param({"template": CIFAR, "num_epochs": float("inf")}, ["num_epochs"], id="infinity"),
    pytest.param({"template": CIFAR, "seed": -1}, ["seed", "-1"], id="negative"),
    pytest.param({"template": 7}, ["template"], id="template-is-a-number"),
]


@pytest.mark.parametrize(("params", "words"), BAD_PARAMETERS)
def test_bad_hyperparameters_are_refused_at_once_and_all_together(client, params, words):
    client.ask("PostModels", models=[r.Model(id="refusing", model_type_id="visual-classifier")])
    if client.face == REST and params.get("num_epochs") == float("inf"):
        pytest.skip("JSON has no infinity")
    refused(train(client, "refusing", params), codes.MODEL_INVALID_ARGUMENT, *words)
    versions = client.must("ListModelVersions", model_id="refusing").model_versions
    assert all(version.status.code == codes.MODEL_UNTRAINED for version in versions)


def train(client: Client, model_id: str, params: dict, **output_info):
    given = Struct()
    given.update(params)
    version = r.ModelVersion(train_info=r.TrainInfo(params=given), output_info=r.OutputInfo(**output_info))
    return client.ask("PostModelVersions", model_id=model_id, model_versions=[version])


def test_models_that_cannot_be_are_refused(client):
    def post(**fields):
        return client.ask("PostModels", models=[r.Model(**fields)])

    refused(post(id="m", model_type_id="no-such-type"), codes.MODEL_INVALID_ARGUMENT, "no-such-type", "visual-classif")
    refused(post(id="m"), codes.MODEL_INVALID_ARGUMENT, "model_type_id")
    client.must("PostModels", models=[r.Model(id="twice", model_type_id="visual-classifier")])
    again = post(id="twice", model_type_id="visual-classifier")
    assert "already exists" in again.status.details
    assert train(client, "no-model", {"template": CIFAR}).status.code == codes.MODEL_DOES_NOT_EXIST
    refused(train(client, "twice", {"template": CIFAR, "dataset_id": "nowhere"}), codes.CONN_DOES_NOT_EXIST, "nowhere")


@pytest.mark.parametrize("bad_id", ["a/b", "../up", "a b", "x" * 200, "ä", "a\nb", "<b>"])
def test_ids_that_cannot_be_are_refused_everywhere(client, bad_id, digits):
    [(_, _, png)] = digits(1)
    refused(client.ask("PostApps", apps=[r.App(id=bad_id)]), codes.CONN_BAD_REQUEST_FORMAT + 2, "id")
    model = r.Model(id=bad_id, model_type_id="visual-classifier")
    refused(client.ask("PostModels", models=[model]), codes.MODEL_INVALID_ARGUMENT, "id")
    posted = client.ask("PostInputs", inputs=[r.Input(id=bad_id, data=r.Data(image=r.Image(base64=png)))])
    assert posted.status.code == codes.FAILURE
    assert posted.inputs[0].status.code == codes.INPUT_INVALID_ARGUMENT, posted
    dataset = client.ask("PostDatasets", datasets=[r.Dataset(id=bad_id)])
    assert dataset.status.code not in (codes.SUCCESS, UNFORESEEN)
    assert "id" in dataset.status.details


# -- strangers ---------------------------------------------------------------------------------------------------------


def test_wrong_missing_and_foreign_keys_open_nothing(client, server):
    rpcs = {"ListModels": {}, "GetApp": {}, "PostModels": {"models": [r.Model(id="x")]}, "ListConcepts": {}}
    me = Client(GRPC, server.base, TOKEN)
    app_of(server.base, "elsewhere", GRPC)
    [key] = me.must("PostKeys", keys=[r.Key(description="e", scopes=["All"], apps=[r.App(id="elsewhere")])]).keys
    for token in ("0" * 32, "x", key.id):
        stranger = Client(client.face, server.base, token, client.who.app_id)
        for rpc, fields in rpcs.items():
            words = "Invalid API key or Invalid API key/application pair"
            refused(stranger.ask(rpc, **fields), codes.CONN_KEY_INVALID, words)
    at_home = Client(client.face, server.base, key.id, "elsewhere")
    assert at_home.must("GetApp").app.id == "elsewhere"


def test_a_key_that_expires_at_no_possible_time_is_refused(server):
    me = Client(GRPC, server.base, TOKEN)
    app_of(server.base, "elsewhere", GRPC)
    key = r.Key(description="for ever", scopes=["All"], apps=[r.App(id="elsewhere")])
    key.expires_at.seconds = 2**62
    refused(me.ask("PostKeys", keys=[key]), codes.CONN_BAD_REQUEST_FORMAT + 2, "expires_at", str(2**62))


def test_another_users_ids_answer_as_if_they_did_not_exist(client, server):
    abroad = Client(client.face, server.base, TOKEN, client.who.app_id, user_id="somebody")
    nowhere = Client(client.face, server.base, TOKEN, "no-such-app")
    for rpc in ("GetApp", "ListModels", "ListInputs", "ListConcepts"):
        assert abroad.ask(rpc).status.code == nowhere.ask(rpc).status.code == codes.CONN_DOES_NOT_EXIST


# -- addresses ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def web(digits) -> Iterator[int]:
    """The port of a web server on 127.0.0.1 that has a digit, and a redirect to where nobody may go."""
    [(_, _, png)] = digits(1)

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_digit = self.path == "/digit.png"
            self.send_response(200 if is_digit else 302)
            self.send_header("Location", "http://169.254.169.254/latest/meta-data/")
            self.send_header("Content-Length", str(len(png) if is_digit else 0))
            self.end_headers()
            self.wfile.write(png if is_digit else b"")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as pages:
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        yield pages.server_port
        pages.shutdown()


def test_private_addresses_are_never_fetched_unless_allowed(client, small_model, web):
    addresses = [address.format(port=web) for address in OFF_LIMITS]
    inputs = [r.Input(data=r.Data(image=r.Image(url=address))) for address in addresses]
    fine = r.Input(data=r.Data(image=r.Image(url=f"http://127.0.0.1:{web}/digit.png")))
    answer = small_model.over(client.face).ask("PostModelOutputs", model_id="small", inputs=[*inputs, fine])
    for address, output in zip(addresses, answer.outputs, strict=False):
        assert output.status.code == codes.INPUT_DOWNLOAD_FAILED, f"{address}: {output.status}"
        assert len(output.status.details) > 20
    assert answer.outputs[-1].status.code == codes.SUCCESS
    assert answer.outputs[-1].data.concepts


def test_an_upload_by_a_private_address_fails_and_by_an_allowed_one_is_fetched(client, web):
    ids = [f"url-{number}" for number in range(len(OFF_LIMITS))]
    inputs = [
        r.Input(id=name, data=r.Data(image=r.Image(url=address.format(port=web))))
        for name, address in zip(ids, OFF_LIMITS, strict=True)
    ]
    fine = r.Input(id="fetched", data=r.Data(image=r.Image(url=f"http://127.0.0.1:{web}/digit.png")))
    posted = client.ask("PostInputs", inputs=[*inputs, fine])
    for item in posted.inputs:
        if item.status.code in (codes.INPUT_DOWNLOAD_PENDING, codes.INPUT_DOWNLOAD_SUCCESS):
            wait_until(lambda name=item.id: settled(client, name), what=f"the download of {item.id}")
            item.status.CopyFrom(client.must("GetInput", input_id=item.id).input.status)
    *failed, fetched = posted.inputs
    assert {item.status.code for item in failed} <= {
        codes.INPUT_DOWNLOAD_FAILED,
        codes.INPUT_INVALID_URL,
        codes.INPUT_INVALID_ARGUMENT,
    }
    assert all(len(item.status.details) > 20 for item in failed), failed
    assert fetched.status.code == codes.INPUT_DOWNLOAD_SUCCESS


def settled(client: Client, input_id: str) -> bool:
    status = client.must("GetInput", input_id=input_id).input.status
    return status.code not in (codes.INPUT_DOWNLOAD_PENDING, codes.INPUT_DOWNLOAD_IN_PROGRESS)


# -- trainings that cannot be ------------------------------------------------------------------------------------------


@dataclass
class SmallModel:
    """An app with a trained model "small" and an untrained one "raw"."""

    base: str
    app_id: str

    def over(self, face: str) -> Client:
        return Client(face, self.base, TOKEN, self.app_id)


@pytest.fixture(scope="module")
def small_model(server, digits) -> SmallModel:
    client = app_of(server.base, "small-model", REST)
    inputs = [
        r.Input(id=name, data=r.Data(image=r.Image(base64=png), concepts=[r.Concept(id=concept, value=1)]))
        for name, concept, png in digits(40)
    ]
    inputs += [r.Input(id=f"{item.id}-again", data=item.data) for item in inputs[:5]]  # one picture under two ids
    upload(client, inputs)
    for model_id in ("small", "raw"):
        client.must("PostModels", models=[r.Model(id=model_id, model_type_id="visual-classifier")])
    started = train(client, "small", {"template": CIFAR, "num_epochs": 1, "width_multiplier": 0.25})
    assert ended(client, "small", started).code == codes.MODEL_TRAINED
    return SmallModel(server.base, client.who.app_id)


def upload(client: Client, inputs: list[r.Input]) -> None:
    client.must("PostInputs", inputs=inputs)
    wait_until(lambda: client.must("GetInputCount").counts.processed == len(inputs), what="processing the inputs")


def ended(client: Client, model_id: str, started):
    """The last status of a training."""
    assert started.status.code == codes.SUCCESS, started.status
    version_id = started.model.model_version.id

    def status():
        found = client.must("GetModelVersion", model_id=model_id, version_id=version_id).model_version.status
        return found if found.code not in (codes.MODEL_QUEUED_FOR_TRAINING, codes.MODEL_TRAINING) else None

    return wait_until(status, 180, f"the end of training {model_id}")


def unlabelled(digits) -> list[r.Input]:
    return digit_inputs(digits, 12)


def all_zero(digits) -> list[r.Input]:
    inputs = digit_inputs(digits, 12)
    for item in inputs:
        item.data.concepts.add(id="seen", value=0)
    return inputs


IMPOSSIBLE: dict[str, tuple[Callable | None, tuple[int, ...]]] = {
    "no-data": (None, (codes.MODEL_TRAINING_NO_DATA,)),
    "no-labels": (unlabelled, (codes.MODEL_TRAINING_NO_DATA, codes.MODEL_TRAINING_NO_POSITIVES)),
    "all-zero": (all_zero, (codes.MODEL_TRAINING_NO_POSITIVES,)),
}


def test_trainings_without_anything_to_learn_from_end_with_their_reason(server, digits):
    started = {}
    for name, (inputs, _) in IMPOSSIBLE.items():
        client = app_of(server.base, f"impossible-{name}", GRPC)  # in JSON a value that is not there is 1
        client.must("PostConcepts", concepts=[r.Concept(id="seen"), r.Concept(id="unseen")])
        if inputs:
            upload(client, inputs(digits))
        client.must("PostModels", models=[r.Model(id="m", model_type_id="visual-classifier")])
        concepts = r.Data(concepts=[r.Concept(id="seen"), r.Concept(id="unseen")])
        started[name] = client, train(client, "m", {"template": CIFAR, "num_epochs": 1}, data=concepts)
    for name, (client, answer) in started.items():
        status = ended(client, "m", answer)
        assert status.code in IMPOSSIBLE[name][1], f"{name}: {status}"
        assert len(status.details) > 20, status
        log = httpx.get(client.must("GetModel", model_id="m").model.model_version.train_log).text
        assert status.details in log
        again = client.ask("PostModelOutputs", model_id="m", inputs=digit_inputs(digits, 1))
        refused(again, codes.MODEL_UNTRAINED, "no trained version")


# -- what only HTTP can get wrong --------------------------------------------------------------------------------------


def asked(server, verb: str, path: str, *, key: str = TOKEN, **more) -> tuple[int, dict]:
    """HTTP status and JSON of one request."""
    headers = {"Authorization": f"Key {key}"} if key else {}
    answer = httpx.request(verb, server.base + path, headers=headers | more.pop("headers", {}), **more)
    return answer.status_code, json.loads(answer.content)["status"]


HTTP_MISTAKES = [
    pytest.param("POST", "/v2/models", {"content": b'{"models": [{"id": "a"'}, 400, (11100,), id="half-a-json"),
    pytest.param("POST", "/v2/models", {"content": b"\xff\xfe\x00"}, 400, (11100,), id="no-text-at-all"),
    pytest.param("POST", "/v2/models", {"json": [1, 2]}, 400, (11100,), id="a-list"),
    pytest.param("POST", "/v2/models", {"json": {"models": "all"}}, 400, (11100,), id="text-for-a-list"),
    pytest.param("POST", "/v2/models", {"json": {"models": [{"id": {}}]}}, 400, (11100,), id="object-for-text"),
    pytest.param("POST", "/v2/models", {"content": b"[" * 100_000}, 400, (11100,), id="too-deep"),
    pytest.param("GET", "/v2/models?page=first", {}, 400, (11100, 11102), id="text-for-a-number"),
    pytest.param("GET", "/v2/models?page=-1", {}, 400, (11100, 11102), id="page-minus-one"),
    pytest.param("PUT", "/v2/models/x/versions", {}, 405, (11103, 11101, 11102), id="wrong-verb"),
    pytest.param("GET", "/v2/no/such/route", {}, 404, (11100,), id="unknown-route"),
]


@pytest.mark.parametrize(("verb", "path", "more", "http_status", "expected"), HTTP_MISTAKES)
def test_http_requests_that_cannot_be_read_say_so(server, verb, path, more, http_status, expected):
    app_of(server.base, "bad-rest", REST)
    user_path = path.replace("/v2/", "/v2/users/lehr/apps/bad-rest/", 1)
    got, status = asked(server, verb, user_path, **more)
    assert got == http_status, status
    assert status["code"] in expected, status
    assert len(status["details"]) > 10, status


def test_no_key_no_answer(server):
    for key, headers in (("", {}), ("", {"Authorization": TOKEN}), ("", {"Authorization": "Basic eDp5"})):
        got, status = asked(server, "GET", "/v2/users/lehr/apps", key=key, headers=headers)
        assert (got, status["code"]) == (401, codes.CONN_KEY_INVALID), status
