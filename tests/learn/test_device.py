"""Where to compute: the GPU with the most room, and depthwise convolutions exactly on a CPU."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from lehr.learn import predictor
from lehr.learn.device import Device, exact_products, freest
from lehr.learn.nets.efficientnet_lite import efficientnet_lite0
from lehr.learn.preprocessing import Preprocessing


def test_the_gpu_with_the_most_free_memory_is_chosen_among_those_that_are_seen() -> None:
    told = "GPU-a, 1000\nGPU-b, 79000\nGPU-c, 24000\nGPU-d, [N/A]\n"
    assert freest(told, ["GPU-a", "GPU-b", "GPU-c"]) == 1
    assert freest(told, ["GPU-c", "GPU-a"]) == 0, "the largest one is not visible to this process"
    assert freest(told, ["GPU-d", "GPU-a"]) == 1
    assert freest("", ["GPU-a", "GPU-b"]) == 0


def test_a_gpu_looks_for_the_fastest_convolutions_only_where_batches_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    before, gpu = (
        torch.get_float32_matmul_precision(),
        Device(name="cuda:0", is_bf16=True, threads=torch.get_num_threads()),
    )
    try:
        gpu.prepare()
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
