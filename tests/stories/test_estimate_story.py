"""The published client asks how long a training would take, then how it would be with more epochs."""

from __future__ import annotations

import time

import pytest
from clarifai_grpc.grpc.api import resources_pb2 as r
from clarifai_grpc.grpc.api.status import status_code_pb2 as codes
from faces import FACES, GRPC, REST, Client
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from lehr_server import TOKEN

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 300


def version(**params) -> r.ModelVersion:
    small = {"template": "classification_cifar10_v1", "width_multiplier": 0.125}
    return r.ModelVersion(train_info=r.TrainInfo(params=ParseDict(small | params, Struct())))


@pytest.fixture
def client(server) -> Client:
    user = Client(GRPC, server.base, TOKEN)
    user.must("PostApps", apps=[r.App(id="estimates")])
    app = Client(GRPC, server.base, TOKEN, "estimates")
    model = r.Model(id="pets", model_type_id="visual-classifier")
    app.must("PostModels", models=[model])
    return app


def estimated(client: Client, *versions: r.ModelVersion, count: int = 2000) -> list[int]:
    """Seconds; asked again while the machine is too busy to be measured."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = client.ask(
            "PostModelVersionsTrainingTimeEstimate",
            model_id="pets",
            model_versions=versions,
            estimated_input_count=count,
        )
        if answer.status.code != codes.MODEL_BUSY_PLEASE_RETRY or time.monotonic() > deadline:
            assert answer.status.code == codes.SUCCESS, answer.status
            return [duration.seconds for duration in answer.training_time_estimates]


def test_an_estimate_is_measured_once_and_grows_with_epochs_and_items(client, server):
    [one] = estimated(client, version())
    short, long = estimated(client, version(num_epochs=2), version(num_epochs=200))
    assert 1 <= short <= one < long
    assert estimated(client, version(num_epochs=200), count=20_000)[0] > long
    assert len(list((server.home / "cache" / "probes").glob("*.json"))) == 1
    over_http = Client(REST, server.base, TOKEN, "estimates")
    assert estimated(over_http, version(num_epochs=200))[0] == pytest.approx(long, rel=0.01)
    for face in FACES:
        refused = Client(face, server.base, TOKEN, "estimates").ask(
            "PostModelVersionsTrainingTimeEstimate",
            model_id="pets",
            model_versions=[version(num_epochs=0, batch_size=4000)],
            estimated_input_count=10,
        )
        assert refused.status.code == codes.MODEL_INVALID_ARGUMENT
        assert "num_epochs" in refused.status.details
        assert "batch_size" in refused.status.details
