"""Boxes in, boxes out: a detector is annotated, trained and asked through the published clients, over both faces."""

from __future__ import annotations

import pytest
from clarifai_grpc.grpc.api import resources_pb2 as r
from clarifai_grpc.grpc.api.status import status_code_pb2 as codes
from drawn_shapes import drawn
from faces import FACES, GRPC, Client
from google.protobuf.struct_pb2 import Struct
from lehr_server import TOKEN, wait_until

NUM_TRAIN, NUM_KEPT_BACK = 125, 20
SMALL = {
    "image_size": 128,
    "num_epochs": 8,
    "base_gradient_multiplier": 0,
    "average_horizontal_flips": True,
    "anchor_ratios": [0.5, 1, 2],
    "detection_score_threshold": 0.4,
}


@pytest.mark.slow
@pytest.mark.parametrize("face", FACES)
def test_a_user_draws_boxes_trains_a_detector_and_gets_boxes(server, face):
    me = Client(face, server.base, TOKEN)
    app_id = f"shapes-{face.lower()}"
    me.must("PostApps", apps=[r.App(id=app_id)])
    client = Client(face, server.base, TOKEN, app_id)
    items = drawn(NUM_TRAIN + NUM_KEPT_BACK)
    upload(client, items[:NUM_TRAIN], as_annotations=face == GRPC)

    concepts = [r.Concept(id="disc"), r.Concept(id="square")]
    model = r.Model(id="find-shapes", model_type_id="visual-detector")
    model.model_version.output_info.data.concepts.extend(concepts)
    client.must("PostModels", models=[model])
    version = trained(client, {"template": "Lehr_Lite", **SMALL})
    assert version.metrics.summary.mean_avg_precision_iou_50 > 0.8
    assert 0 < version.metrics.summary.mean_avg_precision_iou_range < version.metrics.summary.mean_avg_precision_iou_50

    again = measured_again(client, version)
    kept_back, now = version.metrics.summary, again.metrics.summary
    assert now.mean_avg_precision_iou_50 == pytest.approx(kept_back.mean_avg_precision_iou_50, abs=0.05)

    outputs = predict(client, items[NUM_TRAIN:])
    assert all(region.value > 0.4 for output in outputs for region in output.data.regions)
    assert share_found(outputs, items[NUM_TRAIN:]) > 0.8
    many = sum(len(output.data.regions) for output in predict(client, items[NUM_TRAIN:], detection_threshold=0.06))
    few = sum(len(output.data.regions) for output in predict(client, items[NUM_TRAIN:], detection_score_threshold=0.9))
    assert many > sum(len(output.data.regions) for output in outputs) > few
    only = predict(client, items[NUM_TRAIN:], select_concepts=["disc"])
    assert {c.id for output in only for region in output.data.regions for c in region.data.concepts} == {"disc"}


def upload(client: Client, items, *, as_annotations: bool) -> None:
    """The boxes come with the inputs, or one annotation per box after them, as published clients send them."""
    inputs = [r.Input(id=item.id, data=r.Data(image=r.Image(base64=item.read()))) for item in items]
    if not as_annotations:
        for one, item in zip(inputs, items, strict=True):
            one.data.regions.extend(regions(item))
    client.must("PostInputs", inputs=inputs)
    wait_until(lambda: client.must("GetInputCount").counts.processed >= len(items), what="processing the inputs")
    if as_annotations:
        drawn_boxes = [
            r.Annotation(input_id=item.id, data=r.Data(regions=[region])) for item in items for region in regions(item)
        ]
        for start in range(0, len(drawn_boxes), 128):
            client.must("PostAnnotations", annotations=drawn_boxes[start : start + 128])


def regions(item) -> list[r.Region]:
    return [
        r.Region(
            region_info=r.RegionInfo(
                bounding_box=r.BoundingBox(
                    top_row=box.top, left_col=box.left, bottom_row=box.bottom, right_col=box.right
                )
            ),
            data=r.Data(concepts=[r.Concept(id=box.concept, value=1)]),
        )
        for box in item.boxes
    ]


def trained(client: Client, params: dict):
    struct = Struct()
    struct.update(params)
    version = r.ModelVersion(train_info=r.TrainInfo(params=struct))
    answer = client.must("PostModelVersions", model_id="find-shapes", model_versions=[version])
    version_id = answer.model.model_version.id

    def ended():
        now = client.must("GetModelVersion", model_id="find-shapes", version_id=version_id).model_version
        return now if now.status.code not in (codes.MODEL_QUEUED_FOR_TRAINING, codes.MODEL_TRAINING) else None

    version = wait_until(ended, seconds=240, what="the training")
    assert version.status.code == codes.MODEL_TRAINED, version.status
    return version


def measured_again(client: Client, version: r.ModelVersion) -> r.ModelVersion:
    """The version with its own metrics measured anew, on the items that its training kept back."""
    named = {"model_id": "find-shapes", "version_id": version.id}
    client.must("PostModelVersionMetrics", **named)

    def ended():
        now = client.must("GetModelVersion", **named).model_version
        running = (codes.MODEL_QUEUED_FOR_EVALUATION, codes.MODEL_EVALUATING)
        return now if now.metrics.status.code not in running else None

    again = wait_until(ended, seconds=120, what="the evaluation")
    assert again.metrics.status.code == codes.MODEL_EVALUATED, again.metrics.status
    return again


def predict(client: Client, items, **params):
    model = r.Model()
    model.model_version.output_info.params.update(params)
    inputs = [r.Input(data=r.Data(image=r.Image(base64=item.read()))) for item in items]
    return client.must("PostModelOutputs", model_id="find-shapes", inputs=inputs, model=model).outputs


def share_found(outputs, items) -> float:
    """Share of the drawn boxes that some region of their concept overlaps by half or more."""
    found, total = 0, 0
    for output, item in zip(outputs, items, strict=True):
        for box in item.boxes:
            total += 1
            found += any(
                region.data.concepts[0].id == box.concept and overlap(region.region_info.bounding_box, box) >= 0.5
                for region in output.data.regions
            )
    return found / total


def overlap(one: r.BoundingBox, other) -> float:
    height = max(0.0, min(one.bottom_row, other.bottom) - max(one.top_row, other.top))
    width = max(0.0, min(one.right_col, other.right) - max(one.left_col, other.left))
    areas = (one.bottom_row - one.top_row) * (one.right_col - one.left_col)
    areas += (other.bottom - other.top) * (other.right - other.left)
    return height * width / (areas - height * width)
