"""An embedder of one's own: trained, asked for vectors, continued, and built on, over both faces."""

from __future__ import annotations

import pytest
from clarifai_grpc.grpc.api import resources_pb2 as r
from clarifai_grpc.grpc.api.status import status_code_pb2 as codes
from faces import FACES, Client
from google.protobuf.struct_pb2 import Struct
from lehr_server import TOKEN, wait_until

QUICK = {"template": "Lehr_Lite", "image_size": 48, "num_epochs": 4, "embeddings_size": 32}


@pytest.mark.slow
@pytest.mark.parametrize("face", FACES)
def test_a_user_trains_an_embedder_and_a_classifier_on_top_of_it(server, digits, face):
    me = Client(face, server.base, TOKEN)
    app_id = f"embedding-{face.lower()}"
    me.must("PostApps", apps=[r.App(id=app_id)])
    client = Client(face, server.base, TOKEN, app_id)
    upload(client, digits(200))

    client.must("PostModels", models=[r.Model(id="near", model_type_id="visual-embedder")])
    first = trained(client, "near", QUICK)
    assert first.metrics.summary.top1_accuracy > 0.4
    (output,) = predict(client, "near", digits(1)[0][2])
    (embedding,) = output.data.embeddings
    assert embedding.num_dimensions == len(embedding.vector) == 32
    assert sum(value * value for value in embedding.vector) == pytest.approx(1, abs=1e-3)

    some = [name for name, _, _ in digits(200)][:60]
    measured = evaluated_on(client, first, "some", some)
    assert measured.summary.top1_accuracy > 0.4
    assert measured.summary.top5_accuracy >= measured.summary.top1_accuracy
    assert measured.extended_metrics.user_metrics["lehr"]["num_items"] == len(some)

    client.must("PostModels", models=[r.Model(id="kinds", model_type_id="embedding-classifier")])
    kinds = trained(client, "kinds", {"base_embed_model": "near"})
    assert kinds.metrics.summary.top1_accuracy > 0.4
    (output,) = predict(client, "kinds", digits(1)[0][2])
    assert output.data.concepts[0].id == digits(1)[0][1]

    earlier = r.Model(id="near", model_version=r.ModelVersion(id=first.id))
    trained(client, "near", {**QUICK, "num_epochs": 1, "lrate": 0.001}, resume_from_model=earlier)

    for params, words in (
        ({"base_embed_model": "nobody"}, "no model 'nobody'"),
        ({"base_embed_model": "kinds"}, "must be a visual-embedder"),
    ):
        refused = client.ask("PostModelVersions", model_id="kinds", model_versions=[version_of(params)])
        assert words in refused.status.details


def upload(client: Client, items) -> None:
    inputs = [
        r.Input(id=input_id, data=r.Data(image=r.Image(base64=picture), concepts=[r.Concept(id=concept, value=1)]))
        for input_id, concept, picture in items
    ]
    for start in range(0, len(inputs), 100):
        client.must("PostInputs", inputs=inputs[start : start + 100])
    wait_until(lambda: client.must("GetInputCount").counts.processed >= len(items), what="processing the inputs")


def evaluated_on(client: Client, version: r.ModelVersion, dataset_id: str, input_ids: list[str]) -> r.EvalMetrics:
    """The version, measured on a dataset of these inputs."""
    client.must("PostDatasets", datasets=[r.Dataset(id=dataset_id)])
    items = [r.DatasetInput(input=r.Input(id=input_id)) for input_id in input_ids]
    client.must("PostDatasetInputs", dataset_id=dataset_id, dataset_inputs=items)
    order = r.EvalMetrics(model=r.Model(id="near", model_version=r.ModelVersion(id=version.id)))
    order.ground_truth_dataset.id = dataset_id
    (queued,) = client.must("PostEvaluations", eval_metrics=[order]).eval_metrics

    def ended():
        now = client.must("GetEvaluation", evaluation_id=queued.id).eval_metrics
        return now if now.status.code not in (codes.MODEL_QUEUED_FOR_EVALUATION, codes.MODEL_EVALUATING) else None

    found = wait_until(ended, seconds=120, what="the evaluation")
    assert found.status.code == codes.MODEL_EVALUATED, found.status
    return found


def version_of(params: dict, **train_info) -> r.ModelVersion:
    struct = Struct()
    struct.update(params)
    return r.ModelVersion(train_info=r.TrainInfo(params=struct, **train_info))


def trained(client: Client, model_id: str, params: dict, **train_info):
    version = version_of(params, **train_info)
    version_id = client.must("PostModelVersions", model_id=model_id, model_versions=[version]).model.model_version.id

    def ended():
        now = client.must("GetModelVersion", model_id=model_id, version_id=version_id).model_version
        return now if now.status.code not in (codes.MODEL_QUEUED_FOR_TRAINING, codes.MODEL_TRAINING) else None

    version = wait_until(ended, seconds=240, what="the training")
    assert version.status.code == codes.MODEL_TRAINED, version.status
    return version


def predict(client: Client, model_id: str, picture: bytes):
    inputs = [r.Input(data=r.Data(image=r.Image(base64=picture)))]
    return client.must("PostModelOutputs", model_id=model_id, inputs=inputs).outputs
