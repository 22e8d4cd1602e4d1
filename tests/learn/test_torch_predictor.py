"""Models served by torch: in the precision they were evaluated in, and not at all by a GPU that cannot."""

from __future__ import annotations

import json
import logging
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from lehr.learn import predictor as predictors
from lehr.learn import torch_predictor
from lehr.learn.bundle import read_bundle, write_bundle
from lehr.learn.device import Device
from lehr.learn.events import Stepped
from lehr.learn.loop import train
from lehr.learn.predictor import Predictor
from lehr.learn.told_once import warn_once
from lehr.learn.torch_predictor import as_evaluated, crops_at_once, load_on_gpu

sys.path.insert(0, str(Path(__file__).parent))
from small_trainings import KINDS

GPU = Device(name="cuda:0", is_bf16=True, threads=2)
CPU = Device(name="cpu", is_bf16=True, threads=2)
PICTURE = np.zeros((40, 50, 3), np.uint8)


@pytest.fixture(scope="module")
def model(digits_folder: Path, packs_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier after one step, with its OpenVINO form."""
    recipe, data = KINDS["classifier"](digits_folder, packs_folder)
    state = next(event.state() for event in train(recipe, data) if isinstance(event, Stepped))
    return write_bundle(recipe, data, state, None, tmp_path_factory.mktemp("models") / "digits").folder


@pytest.fixture(autouse=True)
def nothing_told_yet() -> None:
    warn_once.cache_clear()


def changed(model: Path, folder: Path, **facts: object) -> Path:
    """The model with other facts in model.json; without its OpenVINO form where it is served by torch."""
    folder.mkdir()
    for path in model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    details = json.loads((model / "model.json").read_text()) | facts
    (folder / "model.json").write_text(json.dumps(details))
    return folder


@pytest.mark.parametrize(
    ("trained", "accepted", "on_gpu", "on_cpu"),
    [("f32", "bf16", "f32", "bf16"), ("bf16", "f32", "bf16", "f32"), (None, "bf16", "bf16", "bf16")],
    ids=["trained in float32", "only float32 accepted of the CPU form", "not trained here"],
)
def test_the_precision_is_the_one_that_the_models_figures_hold_for(
    model: Path, tmp_path: Path, trained: str | None, accepted: str, on_gpu: str, on_cpu: str
) -> None:
    facts: dict[str, object] = {"serving": {"form": "torch", "precision": accepted}}
    facts |= {"device": {"name": "cuda:0", "precision": trained}} if trained else {}
    folder = changed(model, tmp_path / "model", **facts)
    if trained is None:
        details = json.loads((folder / "model.json").read_text())
        del details["device"]
        (folder / "model.json").write_text(json.dumps(details))
    bundle = read_bundle(folder)
    assert as_evaluated(bundle, GPU).precision == on_gpu
    assert as_evaluated(bundle, CPU).precision == on_cpu
    old = Device(name="cuda:0", is_bf16=False, threads=2)
    assert as_evaluated(bundle, old).precision == "f32", "a card without bfloat16 computes none"


def test_a_model_without_a_cpu_form_is_served_by_torch_in_the_precision_that_it_says(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_predictor, "choose_device", lambda name, threads: CPU)
    serving = {"form": "torch", "precision": "f32", "difference": {}}
    served = Predictor.load(changed(model, tmp_path / "model", serving=serving), "cpu")
    assert served.form == "torch cpu f32"
    assert served.predict([PICTURE])[0].shape == (10,)


def test_a_driver_that_torch_cannot_use_leaves_models_to_openvino_and_is_told_once(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(predictors, "_has_cuda", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for _ in range(2):
        found = Predictor.load(model)
        assert found.form.startswith("openvino")
        assert found.predict([PICTURE])[0].shape == (10,)
    [record] = caplog.records
    assert "cannot compute on it" in record.message
    assert "lehr doctor" in record.message


@pytest.mark.parametrize("is_loading", [True, False], ids=["while it is loaded", "at its first answer"])
def test_a_full_gpu_leaves_models_to_openvino_and_keeps_nothing_of_them(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_loading: bool
) -> None:
    caplog.set_level(logging.WARNING)
    left: list[weakref.ref[torch.Tensor]] = []
    given_back: list[bool] = []
    monkeypatch.setattr(predictors, "_has_cuda", lambda: True)
    monkeypatch.setattr(torch_predictor, "choose_device", lambda name, threads: GPU)
    monkeypatch.setattr(Device, "prepare", lambda *_, **__: None)
    monkeypatch.setattr(torch_predictor, "give_back_memory", lambda: given_back.append(left[0]() is None))

    def full(*_: object) -> np.ndarray:
        weights = torch.zeros(1000)
        left.append(weakref.ref(weights))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nAnd much more.")

    def placed(bundle: object, net: object, device: Device) -> Predictor:
        if is_loading:
            full()
        return Predictor(bundle=bundle, run=full, chunk=8, form="torch cuda:0")  # type: ignore[arg-type]

    monkeypatch.setattr(torch_predictor, "_predictor", placed)
    found = Predictor.load(model)
    assert found.form.startswith("openvino")
    assert found.predict([PICTURE])[0].shape == (10,)
    assert given_back == [True], "the memory goes back when what failed is gone"
    [record] = caplog.records
    assert "could not be loaded on cuda:0 (CUDA out of memory. Tried to allocate 2.00 GiB.)" in record.message


def test_a_model_that_is_damaged_is_not_the_gpus_fault(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = {"name": "airbench", "arguments": {"num_concepts": 3}}
    monkeypatch.setattr(torch_predictor, "choose_device", lambda name, threads: GPU)
    with pytest.raises(RuntimeError, match="state_dict"):
        load_on_gpu(read_bundle(changed(model, tmp_path / "model", net=net)))


def test_a_small_gpu_is_given_fewer_crops_at_a_time() -> None:
    gibibytes = {2: 8, 4: 16, 8: 32, 16: 64, 24: 96, 32: 128, 141: 128}
    for size, crops in gibibytes.items():
        assert crops_at_once(size << 30) == crops
