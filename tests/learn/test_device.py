"""Where to compute: the GPU with the most room, and depthwise convolutions exactly on a CPU."""

from __future__ import annotations

import copy

import torch
from torch import nn

from lehr.learn.device import Device, freest
from lehr.learn.nets.efficientnet_lite import efficientnet_lite0


def test_the_gpu_with_the_most_free_memory_is_chosen_among_those_that_are_seen() -> None:
    told = "GPU-a, 1000\nGPU-b, 79000\nGPU-c, 24000\nGPU-d, [N/A]\n"
    assert freest(told, ["GPU-a", "GPU-b", "GPU-c"]) == 1
    assert freest(told, ["GPU-c", "GPU-a"]) == 0, "the largest one is not visible to this process"
    assert freest(told, ["GPU-d", "GPU-a"]) == 1
    assert freest("", ["GPU-a", "GPU-b"]) == 0


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
