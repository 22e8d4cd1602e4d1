"""What is noticed before the first step stays with the version: while it trains, if it fails, once it is trained."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from lehr.errors import TrainingStopped
from lehr.jobs.runs import perform
from lehr.learn.items import Finding
from lehr.learn.precision import Precision
from lehr.protocol import resources_pb2 as r
from lehr.protocol import service_pb2, status_code_pb2
from lehr.protocol.structs import from_struct, to_struct
from lehr.services import training
from lehr.services.bundles import Bundles
from lehr.services.models import Models
from lehr.services.trained import note
from lehr.services.training import Orders, Training
from lehr.serving.decoders import DecoderPool
from lehr.store import annotations, inputs, logs, versions
from lehr.store.inputs import NewInput
from lehr.store.versions import ModelVersionRef

PARAMS = {"template": "classification_cifar10_v1", "width_multiplier": 0.125, "num_epochs": 1, "batch_size": 16}


@pytest.fixture
def vref(db, queue, blobs, ref, bases) -> ModelVersionRef:
    """A training of sixteen pictures of two kinds, ordered with an image_size that is none of its steps."""
    Models(db=db, queue=queue).create(ref, [r.Model(id="m", model_type_id="visual-classifier")])
    generator = np.random.default_rng(0)
    with db.write() as tx:
        for number in range(16):
            file = io.BytesIO()
            Image.fromarray(generator.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(file, "PNG")
            message = r.Input(id=f"p{number}")
            message.data.image.SetInParent()
            message.status.code = status_code_pb2.INPUT_DOWNLOAD_SUCCESS
            inputs.insert(tx, ref, [NewInput(message=message, content_sha=blobs.put(file.getvalue()))])
            note = r.Annotation(id=f"n{number}", input_id=message.id)
            note.data.concepts.add(id="ab"[number % 2], value=1)
            note.status.code = status_code_pb2.ANNOTATION_SUCCESS
            annotations.insert(tx, ref, [note])
    version = r.ModelVersion(id="v", train_info=r.TrainInfo(params=to_struct({**PARAMS, "image_size": 35})))
    version.metadata.CopyFrom(to_struct({"mine": 1, "lehr": {"findings": ["of", {"another": "version"}]}}))
    version.output_info.data.concepts.extend([r.Concept(id="a"), r.Concept(id="b")])
    Orders(db=db, queue=queue, bases=bases).request(
        ref, "m", service_pb2.PostModelVersionsRequest(model_versions=[version])
    )
    return ModelVersionRef(ref, "m", "v")


@pytest.fixture
def attempt(db, queue, blobs, vref, tmp_path):
    """Runs the job once."""
    bundles = Bundles(db=db, blobs=blobs, cache=tmp_path / "cache")
    with DecoderPool(1) as decoders:
        trainer = Training(
            db=db, blobs=blobs, queue=queue, bundles=bundles, decoders=decoders, packs=tmp_path / "packs"
        )

        def run() -> None:
            while (job := queue.claim("w", kinds=[training.KIND])) is None:
                time.sleep(0.05)  # an attempt after another waits a second
            perform(queue, job, trainer.run, {training.KIND: trainer.failed})

        yield run


def told(db, vref) -> tuple[r.ModelVersion, dict, list[str]]:
    """The version, what it keeps of its training, and the lines of its log."""
    with db.read() as tx:
        version = versions.get(tx, vref)
        return version, from_struct(version.metadata).get("lehr") or {}, [line.text for line in logs.read(tx, vref)]


def test_a_rounded_value_is_told_from_the_order_to_the_trained_version(db, vref, attempt):
    _, facts, _ = told(db, vref)
    [notice] = facts["warnings"]
    assert "image_size" in notice
    attempt()
    version, facts, lines = told(db, vref)
    assert version.status.code == status_code_pb2.MODEL_TRAINED, version.status.details
    assert facts["warnings"][0] == version.status.details == notice
    assert lines.count(notice) == 1
    [finding] = [each for each in facts["findings"] if each["kind"] == "few_positives"]
    assert lines.count(finding["text"]) == 1
    assert from_struct(version.metadata)["mine"] == 1


def test_early_warnings_outlive_a_failure_and_are_logged_once(db, queue, vref, attempt, monkeypatch):
    seen = []

    def stop(*_, **__):
        seen.append(told(db, vref))
        raise (ConnectionError("for a moment") if len(seen) == 1 else TrainingStopped("It cannot go on."))

    monkeypatch.setattr(Precision, "decided", stop)
    attempt()
    attempt()
    (_, facts, _), _ = seen
    assert "few_positives" in {each["kind"] for each in facts["findings"]}, "while it trains"
    version, facts, lines = told(db, vref)
    assert version.status.details == "It cannot go on."
    texts = [each["text"] for each in facts["findings"]]
    assert [lines.count(text) for text in [*texts, *facts["warnings"]]] == [1] * (len(texts) + 1)


def test_what_users_write_where_findings_are_kept_ends_no_training():
    for theirs in ("words", ["words", 1, {"no": "text"}], {"text": "few"}, None):
        version = r.ModelVersion()
        version.metadata.CopyFrom(to_struct({"lehr": {"findings": theirs}}))
        assert note(version, [Finding(kind="few_positives", text="Few.")], []) == ["Few."]
        assert note(version, [Finding(kind="few_positives", text="Few.")], []) == []
