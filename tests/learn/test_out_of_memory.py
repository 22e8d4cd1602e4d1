"""Memory that runs out in the middle: told in a sentence that a person can act on, not as a bug of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lehr.errors import Busy, Interrupted, TrainingStopped
from lehr.hyperparameters import parse
from lehr.jobs.retry import GiveUp, after_failure
from lehr.learn import gpu_turns
from lehr.learn.data.dataset import Data
from lehr.learn.device import Device
from lehr.learn.gpu_turns import measuring_on, training_on
from lehr.learn.learners.pixels import PixelLearner
from lehr.learn.offline import FolderOrder, train_folder
from lehr.learn.out_of_memory import explained
from lehr.learn.probe import Bench, measure
from lehr.learn.recipe import Recipe
from lehr.templates import find

sys.path.insert(0, str(Path(__file__).parent))
from small_trainings import data_of, recipe_of

TORCHS = (
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 23.00 GiB of which 1.00 GiB is free."
)
GPU = Device(name="cuda:0", is_bf16=True, threads=2)


@pytest.fixture(scope="module")
def data(digits_folder: Path, packs_folder: Path) -> Data:
    return data_of(digits_folder, packs_folder)


@pytest.fixture
def recipe(data: Data) -> Recipe:
    return recipe_of(data)


def on_gpu(recipe: Recipe, **form: object) -> Recipe:
    return replace(recipe, problem=replace(recipe.problem, device=GPU), form={**recipe.form, **form})


def filled(monkeypatch: pytest.MonkeyPatch, *, free: int, total: int, ours: int) -> None:
    """A GPU with so many GiB."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda name: (free << 30, total << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda name: ours << 30)


def told(recipe: Recipe, error: Exception) -> str:
    with pytest.raises(TrainingStopped) as caught, explained(recipe):
        raise error
    assert caught.value.__cause__ is error
    return caught.value.details


def test_the_sentence_says_who_holds_the_memory_and_what_to_do(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(monkeypatch, free=1, total=23, ours=12)
    assert told(on_gpu(recipe, gradient_checkpointing="auto"), torch.OutOfMemoryError(TORCHS)) == (
        "The memory ran out at batch_size 32 and image_size 32: 2.50 GiB more were asked for, and of 23.0 GiB on "
        "cuda:0 this process holds 12.0 GiB, others hold 10.0 GiB, 1.0 GiB are free. Set batch_size below 32, choose "
        "an image_size below 32, set gradient_checkpointing to on or end what else holds the memory of cuda:0 "
        "(nvidia-smi lists it)."
    )
    filled(monkeypatch, free=1, total=23, ours=21)
    alone = told(on_gpu(recipe, gradient_checkpointing="on"), torch.OutOfMemoryError(TORCHS))
    assert alone.endswith("1.0 GiB are free. Set batch_size below 32 or choose an image_size below 32.")
    one = replace(on_gpu(recipe), batch_size=1)
    assert told(one, torch.OutOfMemoryError(TORCHS)).endswith("are free. Choose an image_size below 32.")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=["driver", "cuDNN", "cuBLAS"],
)
def test_memory_runs_out_in_other_words_too_and_where_not_even_the_driver_can_look(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    def refuse(name: str) -> None:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch.cuda, "mem_get_info", refuse)
    sentence = told(on_gpu(recipe), error)
    assert "cuda:0 is full" in sentence
    assert "end what else holds the memory of cuda:0" in sentence


def test_the_memory_of_the_machine_is_told_too(recipe: Recipe) -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)  # torch's own words
    assert "are free of the" in told(recipe, caught.value)
    assert "of this machine. Set batch_size below 32" in told(recipe, MemoryError("Unable to allocate 3.2 GiB"))


@pytest.mark.parametrize("error", [RuntimeError("shapes do not fit"), ValueError("out of memory"), Busy("later")])
def test_other_errors_stay_what_they_are(recipe: Recipe, error: Exception) -> None:
    with pytest.raises(type(error)) as caught, explained(recipe):
        raise error
    assert caught.value is error


def lose_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second step of any training of pixels needs more than there is."""
    real, steps = PixelLearner.loss, []

    def loss(self: PixelLearner, *given: object) -> torch.Tensor:
        steps.append(self.net.training)
        if len(steps) > 3:  # the first two are only counted
            raise torch.OutOfMemoryError(TORCHS)
        return real(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(PixelLearner, "loss", loss)


def test_a_training_from_a_folder_and_a_probe_end_with_the_sentence(
    data: Data, digits_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = find("visual-classifier", "classification_cifar10_v1")
    form = parse(template.form, {"width_multiplier": 0.125, "num_epochs": 1, "batch_size": 8}).form
    few = tmp_path / "few"
    for kind in ("0", "1"):
        (few / kind).mkdir(parents=True)
        for path in sorted((digits_folder / kind).iterdir())[:20]:
            (few / kind / path.name).write_bytes(path.read_bytes())
    with monkeypatch.context() as patch:
        lose_memory(patch)
        order = FolderOrder(data=few, out=tmp_path / "model", cache=tmp_path, device="cpu", precision="f32")
        with pytest.raises(TrainingStopped, match="The memory ran out at batch_size 8 and image_size 32") as caught:
            train_folder(template, form, order, say=lambda line: None)
    assert isinstance(after_failure(1, caught.value), GiveUp), "a second attempt would end alike"
    with monkeypatch.context() as patch:
        lose_memory(patch)
        bench = Bench(order=data.order, make_recipe=recipe_of, num_items=80, seconds=60)
        with pytest.raises(TrainingStopped, match="The memory ran out at batch_size 32"):
            measure(bench)


@contextmanager
def shared(folder: Path) -> Iterator[None]:
    with training_on(GPU, folder), training_on(GPU, folder):
        yield


def test_steps_are_measured_on_a_gpu_only_while_no_training_computes_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_turns, "_identity", lambda device: device.name)
    with shared(tmp_path / "gpus"):
        with pytest.raises(Busy, match="A training computes on cuda:0"), measuring_on(GPU, tmp_path / "gpus"):
            pytest.fail("measured beside a training")
        with measuring_on(replace(GPU, name="cuda:1"), tmp_path / "gpus"):
            pass
        with measuring_on(replace(GPU, name="cpu"), tmp_path / "gpus"):
            pass
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            measured.__exit__(None, None, None)

    monkeypatch.setattr(gpu_turns.time, "sleep", wait)
    measured = measuring_on(GPU, tmp_path / "gpus")
    measured.__enter__()
    with training_on(GPU, tmp_path / "gpus"):
        assert len(waited) == 2, "a training begins when the measuring has ended"


def test_waiting_for_a_gpus_turn_hears_that_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_turns, "_identity", lambda device: device.name)
    told: list[str] = []

    def tell() -> None:
        told.append("waiting")
        if len(told) == 2:
            raise Interrupted

    with measuring_on(GPU, tmp_path), pytest.raises(Interrupted), training_on(GPU, tmp_path, tell):
        pytest.fail("trained beside what is measured")
    with measuring_on(GPU, tmp_path):
        pass  # whoever stopped waiting holds nothing


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ({}, "expandable_segments:True"),
        ({"PYTORCH_ALLOC_CONF": "max_split_size_mb:64"}, "max_split_size_mb:64"),
        ({"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:64"}, "max_split_size_mb:64"),
        ({"PYTORCH_ALLOC_CONF": ""}, ""),
    ],
)
def test_torch_takes_memory_that_grows_unless_an_operator_said_otherwise(given: dict[str, str], used: str) -> None:
    code = (
        "from lehr.settings import let_memory_grow; let_memory_grow()\n"
        "import torch; print(torch._C._accelerator_getAllocatorSettings())"
    )
    kept = {name: value for name, value in os.environ.items() if "ALLOC_CONF" not in name}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=kept | given, capture_output=True, text=True, check=True, timeout=120
    )
    assert ran.stdout.strip() == used
