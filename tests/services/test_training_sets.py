"""What a training set keeps."""

from types import SimpleNamespace

import pytest

from lehr.learn.data import dataset
from lehr.learn.data.order import DataOrder
from lehr.learn.items import Box, Item, OfVideo
from lehr.protocol import resources_pb2 as r
from lehr.protocol import status_code_pb2
from lehr.protocol.statuses import status
from lehr.protocol.structs import to_struct
from lehr.services.bundles import Bundles
from lehr.services.plans import plan_of
from lehr.services.training import Training
from lehr.services.training_attempt import Attempt
from lehr.services.training_contents import Contents
from lehr.services.training_sets import TrainingSet, packed, unpacked
from lehr.store import concepts, inputs, models, versions
from lehr.store.inputs import NewInput
from lehr.store.items import Source
from lehr.store.sweep import sweep
from lehr.store.versions import ModelVersionRef


@pytest.fixture
def training(db, blobs, queue, tmp_path):
    bundles = Bundles(db=db, blobs=blobs, cache=tmp_path / "bundles")
    return Training(db=db, blobs=blobs, queue=queue, bundles=bundles, decoders=None, packs=tmp_path / "packs")


def test_a_training_set_comes_back_as_it_was(blobs):
    one, two = blobs.put_many([b"one", b"two"])
    box = Box(concept="cat", top=0.1, left=0.2, bottom=0.30000000000000004, right=1.0)
    seen = Item(id="1", sha256=one, read=lambda: b"", positives=frozenset({"cat", "dog"}), split="test", boxes=(box,))
    other = Item(id="2", sha256=two, read=lambda: b"", positives=frozenset(), negatives=frozenset({"cat"}))
    frame = Item(
        id="3@40ms",
        sha256="c" * 64,
        read=lambda: b"",
        positives=frozenset(),
        of_video=OfVideo(sha256="d" * 64, time_ms=40),
    )
    kept = TrainingSet(concept_ids=("dog", "cat"), items=(seen, other, frame))
    again = unpacked(packed(kept), Contents(blobs=blobs, decoders=None))
    assert again == kept
    assert [item.read() for item in again.items[:2]] == [b"one", b"two"]
    assert packed(again) == packed(kept)


def test_what_is_labelled_after_the_first_attempt_does_not_change_the_second(db, blobs, queue, ref, training):
    def upload(input_id):
        with db.write() as tx:
            message = r.Input(id=input_id, status=status(30000))
            inputs.insert(tx, ref, [NewInput(message=message, content_sha=blobs.put(input_id.encode()))])
            concepts.insert(tx, ref, [r.Concept(id=f"concept of {input_id}")])

    vref = ModelVersionRef(ref, "m", "v")
    with db.write() as tx:
        models.insert(tx, ref, [r.Model(id="m", model_type_id="visual-classifier")])
        versions.insert(tx, ref, "m", r.ModelVersion(id="v", status=status(status_code_pb2.MODEL_TRAINING)))
        job_id = queue.add(tx, "train", {}, str(vref))
    upload("rose")
    run = Attempt(training=training, job=queue.claim("me", job_id=job_id), vref=vref)
    plan = SimpleNamespace(concept_ids=(), source=Source(app=ref))

    first = training._training_set(run, plan)
    upload("tulip")
    assert [item.id for item in first.items] == ["rose"]
    assert training._training_set(run, plan) == first
    assert sweep(db, blobs, grace_seconds=0) == 0


@pytest.mark.parametrize("closed", [False, True])
def test_what_a_request_says_of_its_data_reaches_the_order_that_chooses_them(
    db, queue, ref, training, monkeypatch, closed
):
    vref = ModelVersionRef(ref, "m", "v")
    params = {"template": "Clarifai_ResNext", "invalid_data_tolerance_percent": 12.5, "logreg": 0, "image_size": 64}
    version = r.ModelVersion(id="v", train_info={"params": to_struct(params)}, status=status(21103))
    version.output_info.output_config.closed_environment = closed
    version.output_info.data.concepts.extend(r.Concept(id=name) for name in ("rose", "tulip"))
    with db.write() as tx:
        models.insert(tx, ref, [r.Model(id="m", model_type_id="visual-classifier")])
        versions.insert(tx, ref, "m", version)
        job_id = queue.add(tx, "train", {}, str(vref))
    run = Attempt(training=training, job=queue.claim("me", job_id=job_id), vref=vref)
    monkeypatch.setattr(dataset, "build_data", lambda order, items, **rest: order)
    assert training._data(run, plan_of(ref, "visual-classifier", version), None) == DataOrder(
        concepts=("rose", "tulip"),
        image_size=64,
        exclusive=True,
        closed_environment=closed,
        invalid_data_tolerance_percent=12.5,
    )
