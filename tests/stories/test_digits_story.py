"""From pictures to predictions through the published clients, over gRPC and over REST."""

from __future__ import annotations

import urllib.request

import pytest
from clarifai_grpc.grpc.api import resources_pb2 as r
from clarifai_grpc.grpc.api.status import status_code_pb2 as codes
from faces import GRPC, REST, Client
from google.protobuf.struct_pb2 import Struct
from lehr_server import TOKEN, wait_until

NUM_TRAIN, NUM_KEPT_BACK = 600, 100
SMALL = {"num_epochs": 16, "batch_size": 64, "width_multiplier": 0.25, "seed": 0}


@pytest.mark.parametrize("face", [GRPC, pytest.param(REST, marks=pytest.mark.slow)])
def test_a_user_uploads_trains_follows_and_predicts(server, digits, face):
    me = Client(face, server.base, TOKEN)
    app_id = f"digits-{face.lower()}"
    me.must("PostApps", apps=[r.App(id=app_id)])
    client = Client(face, server.base, TOKEN, app_id)

    pictures = digits(NUM_TRAIN + NUM_KEPT_BACK)
    upload(client, pictures[:NUM_TRAIN])
    concepts = client.must("ListConcepts", per_page=100).concepts
    assert {concept.id for concept in concepts} == {f"digit-{i}" for i in range(10)}

    template = advertised_template(client, "classification_cifar10_v1")
    fields = {field.path.rsplit(".", 1)[1]: field for field in template.model_type_fields}
    assert fields["num_epochs"].model_type_range_info.max == 200
    assert all(field.placeholder and not field.internal_only for field in fields.values())

    client.must("PostModels", models=[r.Model(id="which-digit", model_type_id="visual-classifier")])
    version_id = train(client, "which-digit", template="classification_cifar10_v1", **SMALL)
    version = trained(client, "which-digit", version_id)
    assert version.metrics.summary.top1_accuracy > 0.9
    assert "epoch" in urllib.request.urlopen(version.train_log).read().decode()

    right = predict_and_count(client, "which-digit", pictures[NUM_TRAIN:])
    assert right / NUM_KEPT_BACK > 0.9


def upload(client: Client, pictures) -> None:
    """Posts in batches of 128 and waits until every input is processed."""
    for start in range(0, len(pictures), 128):
        batch = [
            r.Input(id=i, data=r.Data(image=r.Image(base64=png), concepts=[r.Concept(id=concept, value=1)]))
            for i, concept, png in pictures[start : start + 128]
        ]
        answer = client.must("PostInputs", inputs=batch)
        assert {item.status.code for item in answer.inputs} <= {30000, 30001}
        assert not any(item.data.image.base64 for item in answer.inputs)
    wait_until(lambda: client.must("GetInputCount").counts.processed >= len(pictures), what="processing the inputs")


def advertised_template(client: Client, name: str):
    types = {model_type.id: model_type for model_type in client.must("ListModelTypes").model_types}
    [field] = [f for f in types["visual-classifier"].model_type_fields if f.path == "train_info.params.template"]
    [option] = [option for option in field.model_type_enum_options if option.id == name]
    return option


def train(client: Client, model_id: str, **params) -> str:
    struct = Struct()
    struct.update(params)
    version = r.ModelVersion(train_info=r.TrainInfo(params=struct))
    answer = client.must("PostModelVersions", model_id=model_id, model_versions=[version])
    assert answer.model.model_version.status.code == codes.MODEL_QUEUED_FOR_TRAINING
    return answer.model.model_version.id


def trained(client: Client, model_id: str, version_id: str):
    """Waits for the end of a training and checks what was seen on the way."""
    seen: list[tuple[int, int]] = []

    def ended():
        version = client.must("GetModelVersion", model_id=model_id, version_id=version_id).model_version
        seen.append((version.status.code, version.status.percent_completed))
        return version if version.status.code not in (codes.MODEL_QUEUED_FOR_TRAINING, codes.MODEL_TRAINING) else None

    version = wait_until(ended, seconds=180, what="the training")
    assert version.status.code == codes.MODEL_TRAINED, version.status
    percents = [percent for code, percent in seen if code == codes.MODEL_TRAINING]
    assert percents == sorted(percents)
    return version


def predict_and_count(client: Client, model_id: str, pictures) -> int:
    inputs = [r.Input(data=r.Data(image=r.Image(base64=png))) for _, _, png in pictures]
    outputs = client.must("PostModelOutputs", model_id=model_id, inputs=inputs).outputs
    for output in outputs:
        values = [concept.value for concept in output.data.concepts]
        assert values == sorted(values, reverse=True)
        assert len(values) == 10
    return sum(output.data.concepts[0].id == concept for output, (_, concept, _) in zip(outputs, pictures, strict=True))
