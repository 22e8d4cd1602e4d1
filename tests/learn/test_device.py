"""Where to compute: the GPU with the most room, and depthwise convolutions exactly on a CPU."""

from __future__ import annotations

import copy
import logging
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lehr.errors import InvalidRequest
from lehr.learn import predictor
from lehr.learn.device import Device, choose_device, exact_products, freest, has_kernels
from lehr.learn.nets.efficientnet_lite import efficientnet_lite0
from lehr.learn.preprocessing import Preprocessing
from lehr.learn.told_once import warn_once

Capability = tuple[int, int]


def with_gpus(monkeypatch: pytest.MonkeyPatch, *capabilities: Capability, told: str = "", code: str = "sm_80") -> None:
    """A machine with GPUs of these capabilities, called a, b, c, …, and a torch with code for one kind."""
    warn_once.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda name: capabilities[int(str(name)[-1])])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"Card {number}")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(uuid="abc"[number]))
    monkeypatch.setattr(torch.cuda, "get_arch_list", code.split)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=told))


def test_the_gpu_with_the_most_free_memory_is_chosen_among_those_that_are_seen() -> None:
    told = "GPU-a, 1000\nGPU-b, 79000\nGPU-c, 24000\nGPU-d, [N/A]\n"
    assert freest(told, ["GPU-a", "GPU-b", "GPU-c"]) == 1
    assert freest(told, ["GPU-c", "GPU-a"]) == 0, "the largest one is not visible to this process"
    assert freest(told, ["GPU-d", "GPU-a"]) == 1
    assert freest("", ["GPU-a", "GPU-b"]) is None
    assert freest(told, ["MIG-e", "GPU-d"]) is None


def test_the_fullness_of_gpus_is_asked_for_by_the_names_that_the_driver_gives_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with_gpus(monkeypatch, (8, 0), (7, 5), (8, 6), told="GPU-a, 1000\nGPU-b, 90000\nGPU-c, 2000\n")
    assert choose_device().name == "cuda:2"
    assert "Card 1 (cuda:1)" in caplog.text, "the one without code is named"
    caplog.clear()
    with_gpus(monkeypatch, (8, 0), (8, 6), told="MIG-x, 1000\n")
    assert choose_device().name == "cuda:0"
    assert "nvidia-smi tells of MIG-x, 1000, and torch computes on GPU-a, GPU-b" in caplog.text


def test_a_gpu_that_torch_has_no_code_for_is_left_alone_and_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with_gpus(monkeypatch, (6, 1))
    assert [choose_device().name for _ in range(3)] == ["cpu"] * 3
    [record] = caplog.records
    assert "no code for compute capability 6.1 of Card 0 (cuda:0), only for sm_80" in record.message
    assert choose_device("cuda:0").name == "cuda:0", "whoever names it gets it"
    assert not choose_device("cuda:0").is_bf16
    with_gpus(monkeypatch, (8, 0))
    assert (choose_device().name, choose_device().is_bf16) == ("cuda:0", True)
    with_gpus(monkeypatch)
    assert choose_device().name == "cpu"


def test_a_driver_that_lists_gpus_and_is_too_old_for_this_torch_counts_for_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_gpus(monkeypatch, (8, 0))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device().name == "cpu"
    with pytest.raises(InvalidRequest, match="no device 'cuda:0' here; there are: cpu, no CUDA device"):
        choose_device("cuda:0")


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((8, 6), ["sm_80"], True),
        ((8, 0), ["sm_86"], False),
        ((9, 0), ["sm_80", "sm_86"], False),
        ((9, 0), ["sm_80", "compute_80"], True),
        ((7, 5), ["sm_80", "compute_80"], False),
        ((9, 0), ["sm_90a"], True),
        ((12, 0), ["sm_90a", "compute_90a"], False),
        ((10, 3), ["sm_100"], True),
        ((10, 3), ["sm_100a"], False),
        ((10, 3), ["sm_100f", "sm_75"], True),
        ((12, 1), ["sm_100f", "compute_100f"], False),
        ((12, 0), ["sm_75", "sm_120"], True),
    ],
)
def test_compiled_code_runs_on_newer_gpus_of_its_kind_and_intermediate_code_on_all_newer_ones(
    capability: Capability, architectures: list[str], runs: bool
) -> None:
    assert has_kernels(capability, architectures) == runs


def test_a_forward_pass_on_a_gpu_makes_it_the_current_one_of_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[str] = []

    @contextmanager
    def current(name: str) -> Iterator[None]:
        entered.append(name)
        yield
        entered.append("left")

    monkeypatch.setattr(torch.cuda, "device", current)
    with Device(name="cuda:1", is_bf16=False, threads=1).autocast():
        assert entered == ["cuda:1"]
    assert entered == ["cuda:1", "left"]
    with Device(name="cpu", is_bf16=True, threads=1).autocast():
        assert torch.is_autocast_enabled("cpu")
    assert len(entered) == 2


def test_a_gpu_looks_for_the_fastest_convolutions_only_where_batches_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    current: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    before, gpu = (
        torch.get_float32_matmul_precision(),
        Device(name="cuda:1", is_bf16=True, threads=torch.get_num_threads()),
    )
    try:
        gpu.prepare()
        assert current == ["cuda:1"]
        assert torch.backends.cudnn.benchmark
        assert torch.get_float32_matmul_precision() == "high"
        with exact_products():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
        gpu.prepare(are_shapes_fixed=False)
        assert not torch.backends.cudnn.benchmark
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_gpu_that_is_hidden_from_this_process_serves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda path: True)
    for shown, has_cuda in (("", False), ("-1", False), ("0", True), ("GPU-a,GPU-b", True)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
        assert predictor._has_cuda() == has_cuda
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert predictor._has_cuda()


def test_fewer_large_crops_go_through_a_network_at_once() -> None:
    sides = {32: 128, 224: 128, 448: 32, 896: 8, 4096: 1}
    for side, at_once in sides.items():
        assert Preprocessing(image_size=4096, side=side).at_once(128) == at_once


def test_depthwise_convolutions_stay_in_float32_in_copies_too() -> None:
    torch.manual_seed(0)
    net = Device(name="cpu", is_bf16=True, threads=1).place(efficientnet_lite0())
    assert net.state_dict().keys() == efficientnet_lite0().state_dict().keys()
    for one in (net, copy.deepcopy(net)):
        kinds: dict[bool, set[torch.dtype]] = {True: set(), False: set()}

        def note(layer: nn.Conv2d, given: object, out: torch.Tensor, kinds: dict[bool, set] = kinds) -> None:
            kinds[layer.groups > 1].add(out.dtype)

        for layer in one.modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_hook(note)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            one(torch.rand(2, 3, 64, 64)).sum().backward()
        assert kinds == {True: {torch.float32}, False: {torch.bfloat16}}
    weights = [layer.weight for layer in copy.deepcopy(net).modules() if isinstance(layer, nn.Conv2d)]
    assert not {id(weight) for weight in weights} & {id(weight) for weight in net.parameters()}
