"""How much memory a step of training keeps for its backward pass, and the switch that saves most of it."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lehr.learn.memory_limit import available_bytes, seeing_saved
from lehr.learn.nets.backbone import checkpoint_gradients

if TYPE_CHECKING:
    from lehr.learn.recipe import Recipe

_LARGEST_SHARE = 0.5
"""Of the free memory: from here on "auto" recomputes instead of keeping."""


def kept_bytes(net: nn.Module, side: int, *, is_bf16: bool) -> int:
    """Bytes kept for the backward pass per picture of `side` x `side` pixels, counted without computing anything.

    Every tensor that the forward pass saves counts once, at two bytes per number where convolutions run in bfloat16.
    """
    twin = deepcopy(net).to("meta").train()
    parameters = {id(parameter) for parameter in twin.parameters()}
    seen: dict[int, Tensor] = {}

    def see(saved: Tensor) -> None:
        if id(saved) not in parameters:
            seen[saved.untyped_storage()._cdata] = saved.detach()

    images = torch.empty(2, 3, side, side, device="meta")  # two: norms refuse a lone value
    with seeing_saved(see):
        base: nn.Module = getattr(twin, "base", twin)
        base(images)
    return sum(_num_bytes(saved, is_bf16) for saved in seen.values()) // len(images)


def _num_bytes(saved: Tensor, is_bf16: bool) -> int:
    return saved.numel() * (2 if is_bf16 and saved.is_floating_point() else saved.element_size())


def save_memory(net: nn.Module, switch: str, recipe: Recipe) -> bool:
    """Sets gradient checkpointing of the backbones inside: "on", "off", or "auto" (when a batch would be too large).

    True if it is on. Changes no result.
    """
    is_on = switch == "on" or (switch == "auto" and _is_too_large(net, recipe))
    checkpoint_gradients(net, None if is_on else 0)
    return is_on


def _is_too_large(net: nn.Module, recipe: Recipe) -> bool:
    device = recipe.problem.device
    needed = recipe.batch_size * kept_bytes(net, recipe.preprocessing.side, is_bf16=device.is_bf16)
    return needed > _LARGEST_SHARE * available_bytes(device)
