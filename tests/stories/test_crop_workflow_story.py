"""Detector, image crop, classifier: what a detector finds is cut out, and each cutting is classified by itself."""

from __future__ import annotations

import io

import numpy as np
import pytest
from clarifai_grpc.grpc.api import resources_pb2 as r
from clarifai_grpc.grpc.api.status import status_code_pb2 as codes
from drawn_shapes import HEIGHT, WIDTH, drawn
from faces import GRPC, Client
from google.protobuf.struct_pb2 import Struct
from lehr_server import TOKEN, wait_until
from PIL import Image

NUM_TRAIN, NUM_ASKED = 110, 16
DETECTOR = {
    "template": "Lehr_Lite",
    "image_size": 128,
    "num_epochs": 8,
    "base_gradient_multiplier": 0,
    "anchor_ratios": [0.5, 1, 2],
    "detection_score_threshold": 0.4,
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_each_found_region_is_cut_out_and_classified_by_itself(server):
    me = Client(GRPC, server.base, TOKEN)
    me.must("PostApps", apps=[r.App(id="finding"), r.App(id="naming")])
    finding, naming = (Client(GRPC, server.base, TOKEN, name) for name in ("finding", "naming"))
    items = drawn(NUM_TRAIN + NUM_ASKED)
    upload(finding, [r.Input(id=item.id, data=with_boxes(item)) for item in items[:NUM_TRAIN]])
    upload(naming, [cutting for item in items[:60] for cutting in cuttings(item)])
    train(finding, "find", "visual-detector", DETECTOR)
    train(naming, "name", "embedding-classifier", {"image_size": 256, "logreg": 0})

    finding.must("PostModels", models=[r.Model(id="cut", model_type_id="image-crop")])
    named = r.Model(id="name", user_id="lehr", app_id="naming")
    nodes = [
        node("find", r.Model(id="find")),
        node("cut", r.Model(id="cut"), "find"),
        node("name", named, "cut"),
        node("embed", r.Model(id="general-image-embedding", user_id="clarifai", app_id="main"), "cut"),
        node("head", named, "embed"),
    ]
    nodes[3].suppress_output = True
    finding.must("PostWorkflows", workflows=[r.Workflow(id="find-and-name", nodes=nodes)])
    inputs = [r.Input(data=r.Data(image=r.Image(base64=item.read()))) for item in items[NUM_TRAIN:]]
    results = patient(finding, workflow_id="find-and-name", inputs=inputs).results

    agreed = []
    for result in results:
        found, cut, said, head = result.outputs
        ids = [region.id for region in found.data.regions]
        for output in (cut, said, head):
            assert [region.id for region in output.data.regions] == ids
        for one, picture, concepts, of_head in zip(
            found.data.regions, cut.data.regions, said.data.regions, head.data.regions, strict=True
        ):
            assert concepts.region_info == one.region_info
            box = one.region_info.bounding_box
            width, height = Image.open(io.BytesIO(picture.data.image.base64)).size
            assert abs(width - (box.right_col - box.left_col) * WIDTH) <= 1
            assert abs(height - (box.bottom_row - box.top_row) * HEIGHT) <= 1
            best = concepts.data.concepts[0]
            values = {concept.id: concept.value for concept in of_head.data.concepts}
            assert values[best.id] == pytest.approx(best.value, abs=0.15)
            agreed.append(best.id == one.data.concepts[0].id)
    assert len(agreed) >= NUM_ASKED
    assert np.mean(agreed) > 0.8


def node(name: str, model: r.Model, *inputs: str) -> r.WorkflowNode:
    return r.WorkflowNode(id=name, model=model, node_inputs=[r.NodeInput(node_id=one) for one in inputs])


def with_boxes(item) -> r.Data:
    data = r.Data(image=r.Image(base64=item.read()))
    for box in item.boxes:
        region = data.regions.add()
        region.region_info.bounding_box.CopyFrom(
            r.BoundingBox(top_row=box.top, left_col=box.left, bottom_row=box.bottom, right_col=box.right)
        )
        region.data.concepts.add(id=box.concept, value=1)
    return data


def cuttings(item) -> list[r.Input]:
    """Each shape by itself, as an image with its concept."""
    pixels = np.asarray(Image.open(io.BytesIO(item.read())).convert("RGB"))
    made = []
    for number, box in enumerate(item.boxes):
        top, bottom = round(box.top * HEIGHT), round(box.bottom * HEIGHT)
        left, right = round(box.left * WIDTH), round(box.right * WIDTH)
        file = io.BytesIO()
        Image.fromarray(pixels[top:bottom, left:right]).save(file, "PNG")
        data = r.Data(image=r.Image(base64=file.getvalue()), concepts=[r.Concept(id=box.concept, value=1)])
        made.append(r.Input(id=f"{item.id}-{number}", data=data))
    return made


def upload(client: Client, inputs: list[r.Input]) -> None:
    for start in range(0, len(inputs), 128):
        client.must("PostInputs", inputs=inputs[start : start + 128])
    wait_until(lambda: client.must("GetInputCount").counts.processed >= len(inputs), 300, "processing the inputs")


def train(client: Client, model_id: str, model_type_id: str, params: dict) -> None:
    model = r.Model(id=model_id, model_type_id=model_type_id)
    model.model_version.output_info.data.concepts.extend([r.Concept(id="disc"), r.Concept(id="square")])
    client.must("PostModels", models=[model])
    struct = Struct()
    struct.update(params)
    version = r.ModelVersion(train_info=r.TrainInfo(params=struct))
    made = client.must("PostModelVersions", model_id=model_id, model_versions=[version]).model.model_version

    def ended():
        now = client.must("GetModelVersion", model_id=model_id, version_id=made.id).model_version
        return now if now.status.code not in (codes.MODEL_QUEUED_FOR_TRAINING, codes.MODEL_TRAINING) else None

    trained = wait_until(ended, seconds=600, what="the training")
    assert trained.status.code == codes.MODEL_TRAINED, trained.status


def patient(client: Client, **fields):
    """Asks again while a model is loading, as published clients do."""

    def answer():
        found = client.ask("PostWorkflowResults", **fields)
        return found if found.status.code not in (codes.MODEL_LOADING, codes.MODEL_BUSY_PLEASE_RETRY) else None

    found = wait_until(answer, seconds=600, what="an answer")
    assert found.status.code == codes.SUCCESS, found.status
    return found
