"""From where an interrupted training goes on."""

from types import SimpleNamespace

import pytest
import torch

from lehr.learn.checkpoint import State, save
from lehr.learn.events import EpochEnded, Stepped
from lehr.protocol import resources_pb2 as r
from lehr.protocol import status_code_pb2
from lehr.protocol.statuses import status
from lehr.services import training_attempt
from lehr.services.bundles import Bundles
from lehr.services.training import Training
from lehr.services.training_attempt import Attempt
from lehr.store import checkpoints, models, versions
from lehr.store.checkpoints import Checkpoint
from lehr.store.versions import ModelVersionRef


@pytest.fixture
def run(db, blobs, queue, ref, tmp_path):
    """A second attempt at a training whose first left a checkpoint at step 7, made on the data "then"."""
    vref = ModelVersionRef(ref, "m", "v")
    state = State(tensors={"net/w": torch.ones(1)}, facts={"data": "then"})
    with db.write() as tx:
        models.insert(tx, ref, [r.Model(id="m", model_type_id="visual-classifier")])
        versions.insert(tx, ref, "m", r.ModelVersion(id="v", status=status(status_code_pb2.MODEL_TRAINING)))
        job_id = queue.add(tx, "train", {}, str(vref))
        checkpoints.add(tx, vref, Checkpoint(sha=blobs.put(save(state)), step=7, token=1))
    bundles = Bundles(db=db, blobs=blobs, cache=tmp_path / "bundles")
    training = Training(db=db, blobs=blobs, queue=queue, bundles=bundles, decoders=None, packs=tmp_path / "packs")
    return Attempt(training=training, job=SimpleNamespace(id=job_id), vref=vref)


def test_a_training_on_the_same_data_goes_on_from_its_checkpoint(run):
    assert run.checkpoint(SimpleNamespace(fingerprint="then")).facts["data"] == "then"
    assert run.unsaid == ["Going on from the checkpoint at step 7."]


def test_a_training_whose_app_got_new_inputs_meanwhile_starts_afresh_instead_of_failing(run):
    assert run.checkpoint(SimpleNamespace(fingerprint="now")) is None
    assert "starts afresh" in run.unsaid[0]


def test_checkpoints_take_a_small_share_of_short_epochs_and_the_last_epoch_always_has_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = {"now": 1000.0}
    monkeypatch.setattr(training_attempt.time, "monotonic", lambda: clock["now"])
    attempt = Attempt(training=None, job=None, vref=None, last_checkpoint=1000.0)  # type: ignore[arg-type]
    saved: list[int] = []

    def ended(epoch: int) -> EpochEnded:
        facts = {"step": epoch, "num_steps": 200, "lr": 0.1, "train_loss": 1.0, "metrics": None, "seconds": 1.0}
        return EpochEnded(epoch=epoch, num_epochs=200, state=lambda: None, **facts)  # type: ignore[arg-type]

    for epoch in range(1, 201):  # of a second each, and a checkpoint takes half a second
        clock["now"] += 1.0
        if attempt._is_due(ended(epoch)):
            saved.append(epoch)
            attempt.last_checkpoint = clock["now"]
            clock["now"] += 0.5
            attempt.seconds_per_checkpoint = 0.5
    assert saved[0] == 1
    assert saved[-1] == 200
    assert 15 <= len(saved) <= 22
    stepped = Stepped(
        step=1, num_steps=9, epoch=1, num_epochs=1, lr=0.1, num_items=1, loss_tensor=None, state=lambda: None
    )  # type: ignore[arg-type]
    assert not attempt._is_due(stepped)
    clock["now"] += training_attempt.CHECKPOINT_SECONDS
    assert attempt._is_due(stepped), "in the middle of a long epoch too"
