"""A training goes on while another process keeps the database locked, and tells everything afterwards; one whose memory
runs out ends at once."""

import io
import json
import logging
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_digits
from torch import OutOfMemoryError

from lehr.errors import TrainingStopped
from lehr.jobs.queue import Queue, State
from lehr.jobs.runs import perform
from lehr.learn.learners.pixels import PixelLearner
from lehr.protocol import resources_pb2 as r
from lehr.protocol import service_pb2, status_code_pb2
from lehr.protocol.structs import to_struct
from lehr.services import training, training_attempt
from lehr.services.bundles import Bundles
from lehr.services.models import Models
from lehr.services.training import Orders, Training
from lehr.serving.decoders import DecoderPool
from lehr.store import annotations, inputs, logs, training_points, versions
from lehr.store.db import Database
from lehr.store.inputs import NewInput
from lehr.store.versions import ModelVersionRef

HOLDER = Path(__file__).parents[1] / "jobs" / "lock_holder.py"
NUM_EPOCHS = 30
PARAMS = {"template": "classification_cifar10_v1", "width_multiplier": 0.125, "logreg": 0, "batch_size": 16}
LOCKED_SECONDS = 3


def add_digits(tx, ref, blobs, count: int) -> None:
    known = load_digits()
    for number in range(count):
        file = io.BytesIO()
        Image.fromarray((known.images[number] * 255 / 16).astype("uint8")).save(file, "PNG")
        message = r.Input(id=f"d{number}")
        message.data.image.SetInParent()
        message.status.code = status_code_pb2.INPUT_DOWNLOAD_SUCCESS
        inputs.insert(tx, ref, [NewInput(message=message, content_sha=blobs.put(file.getvalue()))])
        note = r.Annotation(id=f"n{number}", input_id=message.id)
        note.data.concepts.add(id=str(known.target[number]), value=1)
        note.status.code = status_code_pb2.ANNOTATION_SUCCESS
        annotations.insert(tx, ref, [note])


@pytest.fixture
def vref(db, queue, blobs, bases, ref) -> ModelVersionRef:
    """A small training, ordered."""
    concepts = [r.Concept(id=str(kind)) for kind in range(10)]
    Models(db=db, queue=queue).create(ref, [r.Model(id="m", model_type_id="visual-classifier")])
    with db.write() as tx:
        add_digits(tx, ref, blobs, 100)
    version = r.ModelVersion(id="v", train_info=r.TrainInfo(params=to_struct({**PARAMS, "num_epochs": NUM_EPOCHS})))
    version.output_info.data.concepts.extend(concepts)
    request = service_pb2.PostModelVersionsRequest(model_versions=[version])
    Orders(db=db, queue=queue, bases=bases).request(ref, "m", request)
    return ModelVersionRef(ref, "m", "v")


def details(db, vref) -> str:
    with db.read() as tx:
        return versions.get(tx, vref).status.details


def test_a_training_goes_on_while_the_database_is_locked_and_loses_no_point_of_its_curves(
    db, blobs, vref, tmp_path, caplog, monkeypatch
):
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(training_attempt, "REPORT_SECONDS", 0.1)
    own = Database(db.url.render_as_string(), busy_seconds=0.05)  # the trainer's, which here hardly waits
    queue = Queue(own)
    bundles = Bundles(db=own, blobs=blobs, cache=tmp_path / "cache")
    with DecoderPool(1) as decoders:
        trainer = Training(
            db=own, blobs=blobs, queue=queue, bundles=bundles, decoders=decoders, packs=tmp_path / "packs"
        )
        job = queue.claim("w", kinds=[training.KIND])
        runs = threading.Thread(target=perform, args=(queue, job, trainer.run, {training.KIND: trainer.failed}))
        runs.start()
        while not details(db, vref).startswith("epoch"):
            assert runs.is_alive()
            time.sleep(0.01)
        before = time.monotonic()
        subprocess.run([sys.executable, str(HOLDER), str(db.path), str(LOCKED_SECONDS)], check=True, timeout=60)
        told = [record.getMessage() for record in caplog.records]
        assert any("A checkpoint of job" in line for line in told), f"an epoch ended in {time.monotonic() - before} s"
        assert any("The status of job" in line for line in told)
        runs.join(240)
    with db.read() as tx:
        [view] = queue.of_subject(tx, str(vref))
        version = versions.get(tx, vref)
        points = [json.loads(point) for point in training_points.page(tx, vref, page=1, per_page=1000)]
        lines = [line.text for line in logs.read(tx, vref)]
    assert (view.state, view.job.attempt, view.error) == (State.DONE, 1, ""), lines
    assert version.status.code == status_code_pb2.MODEL_TRAINED
    steps = [point["step"] for point in points if point["kind"] == "step"]
    assert steps == list(range(1, len(steps) + 1))
    assert [point["epoch"] for point in points if point["kind"] == "epoch"] == list(range(1, NUM_EPOCHS + 1))
    assert sum(line.startswith("epoch ") for line in lines) == NUM_EPOCHS
    own.close()


def test_a_training_whose_memory_runs_out_is_given_up_at_once_and_says_what_to_do(
    db, blobs, vref, queue, tmp_path, monkeypatch
):
    def lose_memory(learner, drawn):
        if len(drawn[0]) > 4:  # the look at the memory takes so many
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has …")
        return loss(learner, drawn)

    bundles = Bundles(db=db, blobs=blobs, cache=tmp_path / "cache")
    loss = PixelLearner.loss
    monkeypatch.setattr(PixelLearner, "loss", lose_memory)
    with DecoderPool(1) as decoders:
        trainer = Training(
            db=db, blobs=blobs, queue=queue, bundles=bundles, decoders=decoders, packs=tmp_path / "packs"
        )
        perform(queue, queue.claim("w", kinds=[training.KIND]), trainer.run, {training.KIND: trainer.failed})
    with db.read() as tx:
        [view] = queue.of_subject(tx, str(vref))
        status = versions.get(tx, vref).status
    assert (view.state, view.job.attempt, status.code) == (State.FAILED, 1, TrainingStopped.code)
    assert status.details.startswith("The memory ran out at batch_size 16 and image_size 32: 2.50 GiB more were asked")
    assert "Set batch_size below 16" in status.details
