"""From where an interrupted training goes on."""

from types import SimpleNamespace

import pytest
import torch

from lehr.learn.checkpoint import State, save
from lehr.protocol import resources_pb2 as r
from lehr.protocol import status_code_pb2
from lehr.protocol.statuses import status
from lehr.services.bundles import Bundles
from lehr.services.training import Training, _Run
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
    return _Run(training=training, job=SimpleNamespace(id=job_id), vref=vref)


def test_a_training_on_the_same_data_goes_on_from_its_checkpoint(run):
    assert run.checkpoint(SimpleNamespace(fingerprint="then")).facts["data"] == "then"
    assert run.unsaid == ["Going on from the checkpoint at step 7."]


def test_a_training_whose_app_got_new_inputs_meanwhile_starts_afresh_instead_of_failing(run):
    assert run.checkpoint(SimpleNamespace(fingerprint="now")) is None
    assert "starts afresh" in run.unsaid[0]
