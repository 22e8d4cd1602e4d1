"""What `lehr doctor` says of GPUs: those that compute, those that cannot, and a driver that torch cannot use."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from lehr import doctor
from lehr.doctor import Finding
from lehr.learn import gpu_trial, machine
from lehr.learn.gpu_trial import Trial, tried, wrong_on
from lehr.settings import Settings

GOOD = Trial(number=0, name="Card", capability="8.6", total_bytes=24 << 30, free_bytes=20 << 30, why="")


def findings() -> list[Finding]:
    return list(doctor._gpus(Settings()))


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """So many GPUs, tried out by a process that runs this code."""

    def make(count: int, code: str) -> None:
        real = subprocess.run
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(subprocess, "run", lambda command, **options: real([sys.executable, "-c", code], **options))

    return make


def printed(*trials: Trial) -> str:
    return "".join(f"print({json.dumps(asdict(trial))!r}, flush=True)\n" for trial in trials)


def test_every_gpu_is_told_with_its_memory_and_whether_it_computes(gpus: Callable[..., None]) -> None:
    old = Trial(number=1, name="Old", capability="6.1", total_bytes=8 << 30, free_bytes=0, why="torch has no code")
    gpus(2, printed(GOOD, old))
    good, bad = findings()
    assert good.is_good
    assert good.sentence.startswith("cuda:0 Card, compute capability 8.6, 20.0 GiB of 24.0 GiB free")
    assert not bad.is_good
    assert bad.sentence == "cuda:1 Old, compute capability 6.1, 8.0 GiB: not usable: torch has no code"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os; os.kill(os.getpid(), 11)", "with exit code -11"),
        ("raise SystemExit('the driver is gone')", "the driver is gone"),
        ("import time; time.sleep(60)", "not within 5 s"),
    ],
    ids=["dies", "fails", "hangs"],
)
def test_a_gpu_that_ends_the_process_that_tries_it_is_told(
    gpus: Callable[..., None], monkeypatch: pytest.MonkeyPatch, code: str, told: str
) -> None:
    monkeypatch.setattr(doctor, "TRIAL_SECONDS", 5.0 if "sleep" in code else 60.0)
    gpus(2, printed(GOOD) + code)
    good, bad = findings()
    assert good.is_good
    assert not bad.is_good
    assert "cuda:1" in bad.sentence
    assert told in bad.sentence
    assert "CUDA_VISIBLE_DEVICES" in bad.sentence


def test_a_driver_that_torch_cannot_use_is_something_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine, "NVIDIA_DRIVER", (tmp_path / "version", tmp_path / "nvidiactl"))
    [nothing] = findings()
    assert nothing == Finding(what="gpu", is_good=True, sentence="no CUDA device: trainings run on the CPU")

    (tmp_path / "nvidiactl").touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.version, "cuda", None)
    [built_without] = findings()
    assert not built_without.is_good
    assert "was built without CUDA: install one with" in built_without.sentence

    def refuse() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040). Please update it.")

    monkeypatch.setattr(torch.version, "cuda", "13.2")
    monkeypatch.setattr(torch.cuda, "init", refuse)
    [old] = findings()
    assert not old.is_good
    assert "needs a driver for CUDA 13.2 (The NVIDIA driver on your system is too old (found" in old.sentence
    assert "update the driver" in old.sentence

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    [hidden] = findings()
    assert hidden.is_good
    assert "hidden by CUDA_VISIBLE_DEVICES=''" in hidden.sentence


def test_a_trial_computes_and_notices_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    assert wrong_on("cpu") == ""
    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.Conv2d, "to", lambda layer, device: lambda images: layer(images) * 1.5)
        assert wrong_on("cpu").startswith("a convolution is wrong by")
    answers = [torch.arange(3), torch.arange(4)]
    monkeypatch.setattr(torchvision.ops, "nms", lambda *_: answers.pop())
    assert wrong_on("cpu") == "torchvision.ops.nms keeps other boxes than on the processor"


@pytest.mark.parametrize("is_covered", [True, False])
def test_a_gpu_is_tried_only_where_torch_has_code_for_it(monkeypatch: pytest.MonkeyPatch, is_covered: bool) -> None:
    properties = type("Properties", (), {"name": "Card", "major": 8, "minor": 6, "total_memory": 24 << 30})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (20 << 30, 24 << 30))
    monkeypatch.setattr(gpu_trial, "lacking_kernels", lambda number: "" if is_covered else "no code")

    def fail(device: str) -> str:
        raise RuntimeError(f"CUDA error on {device}.\nMore words.")

    monkeypatch.setattr(gpu_trial, "wrong_on", fail)
    found = tried(0)
    assert (found.name, found.capability, found.total_bytes) == ("Card", "8.6", 24 << 30)
    assert found.why == ("it fails with 'CUDA error on cuda:0'" if is_covered else "no code")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpus_of_this_machine_compute() -> None:
    found = findings()
    assert len(found) == torch.cuda.device_count()
    assert all(finding.is_good for finding in found), found
