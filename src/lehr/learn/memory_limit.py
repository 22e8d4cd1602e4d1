"""Says before the first step that a batch will not fit, and which would, instead of dying in the middle of it.

What a step keeps for its backward pass is counted on this very network and data, at two small batch sizes: it grows by
the same amount with every item. That is less than the step will really take, so what is refused here cannot succeed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lehr.errors import TrainingStopped
from lehr.learn.data.dataset import Data
from lehr.learn.device import Device
from lehr.learn.nets.backbone import Backbone, checkpoint_gradients
from lehr.learn.recipe import Learner, Recipe

USABLE_SHARE = 0.9
"""Of the available memory. The rest goes to what is not counted: scratch space of convolutions, fragments, data.
Measured: what is counted was 0.83 to 0.93 of what steps of three networks took at their most (CPU, bfloat16)."""
_SIZES = (2, 4)
_RECOMPUTING = "A batch would not fit into the memory otherwise: gradient_checkpointing is on, each step takes longer."
_NO_LIMIT = 2**60
"""Larger than any memory: how version 1 of cgroups writes that there is no limit."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """Bytes that a training will take beyond what it has taken before its first step."""

    per_item: int
    """Kept for the backward pass, for every item of a batch."""
    fixed: int
    """Gradients and the optimiser's memory of them."""
    notices: tuple[str, ...] = ()
    """What was changed so that it fits."""

    def of_batch(self, batch_size: int) -> int:
        """All together, for a step with this many items."""
        return self.fixed + batch_size * self.per_item

    def largest_batch(self, available: int) -> int:
        """The most items per step that fit; 0 or less: none does."""
        return (int(USABLE_SHARE * available) - self.fixed) // max(self.per_item, 1)


def check_memory(
    recipe: Recipe, learner: Learner, data: Data, available: Callable[[Device], int] | None = None
) -> Need:
    """Raises TrainingStopped, naming the largest batch_size that fits, when a step clearly takes more than there is.

    Changes neither the weights nor the order of the items; where it helps, pictures that lie in the device's memory
    leave it, and the network keeps less and recomputes the rest, unless gradient_checkpointing is off.
    `available` tells the free bytes of a device.
    """
    available = available or available_bytes
    device, batch_size = recipe.problem.device, min(recipe.batch_size, recipe.items_per_epoch)
    try:
        need = need_of(learner, data)
        free = available(device)
        images = getattr(learner, "images", None)
        if need.of_batch(batch_size) > USABLE_SHARE * free and images is not None and images.leave():
            free = available(device)
        if need.of_batch(batch_size) > USABLE_SHARE * free and _may_recompute(recipe, learner):
            checkpoint_gradients(learner.net)
            need = replace(need_of(learner, data), notices=(_RECOMPUTING,))
    except torch.OutOfMemoryError:
        raise TrainingStopped(_refusal_of_two(recipe, available(device))) from None
    if need.of_batch(batch_size) > USABLE_SHARE * free:
        raise TrainingStopped(_refusal(recipe, batch_size, need, free))
    return need


def _may_recompute(recipe: Recipe, learner: Learner) -> bool:
    """Whether nobody forbade it, and it is not done yet."""
    backbones = [module for module in learner.net.modules() if isinstance(module, Backbone)]
    is_on = any(backbone.checkpoint_segments for backbone in backbones)
    return bool(backbones) and not is_on and recipe.form.get("gradient_checkpointing") == "auto"


def need_of(learner: Learner, data: Data) -> Need:
    """Counts on a copy of the network, at two batch sizes, with real items of the training.

    Where pictures of different shapes share a canvas it is that of the largest batch. Raises torch.OutOfMemoryError
    where two items are too many; where only four are, what is counted is more than an item takes.
    """
    twin = copy.copy(learner)
    twin.net = copy.deepcopy(learner.net).train()  # type: ignore[misc]
    if hasattr(twin, "largest_frame"):
        twin.frame = twin.largest_frame()  # type: ignore[attr-defined]
    searches, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False  # not for these two batches
    few, more = _SIZES
    try:
        kept = _kept_bytes(twin, np.resize(np.arange(data.num_train), few))
        try:
            grown = max(0, _kept_bytes(twin, np.resize(np.arange(data.num_train), more)) - kept)
            per_item = grown // (more - few)
        except torch.OutOfMemoryError:
            per_item = kept // few
    finally:
        torch.backends.cudnn.benchmark = searches
    trained = sum(parameter.nbytes for parameter in learner.net.parameters() if parameter.requires_grad)
    return Need(per_item=per_item, fixed=2 * trained)


def available_bytes(device: Device) -> int:
    """Memory that a training may still take: of the device, or of this machine and of the container it runs in."""
    if device.is_cuda:
        idle = torch.cuda.memory_reserved(device.name) - torch.cuda.memory_allocated(device.name)
        return torch.cuda.mem_get_info(device.name)[0] + idle
    return min(_available_here(Path("/proc/meminfo")), _left_in_container(Path("/sys/fs/cgroup")))


def in_words(num_bytes: float) -> str:
    """1.5 GiB, 300 MiB."""
    mebibytes = num_bytes / 2**20
    return f"{mebibytes / 1024:.1f} GiB" if mebibytes >= 1024 else f"{mebibytes:.0f} MiB"


def _kept_bytes(learner: Learner, indices: np.ndarray) -> int:
    """Bytes of all tensors that one forward pass keeps for its backward pass, each once, weights aside."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in learner.net.parameters()}
    kept: dict[int, int] = {}

    def keep(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return saved

    with torch.random.fork_rng(_cuda_of(learner.net)), torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        loss = learner.loss(learner.draw(indices, np.random.default_rng(0)))
    del loss  # until here nothing kept was freed, so that no two of them had the same address
    return sum(kept.values())


def _cuda_of(net: nn.Module) -> list[torch.device]:
    return list({parameter.device for parameter in net.parameters() if parameter.is_cuda})


def _refusal_of_two(recipe: Recipe, free: int) -> str:
    return (
        f"Two items at a time take more memory than there is ({in_words(free)} are free on "
        f"{recipe.problem.device.name}): choose a smaller image_size, free memory that others hold there, or train on "
        "the CPU."
    )


def _refusal(recipe: Recipe, batch_size: int, need: Need, free: int) -> str:
    device = recipe.problem.device
    place = f"on {device.name}" if device.is_cuda else "here"
    largest = need.largest_batch(free)
    found = (
        f"A training step with {batch_size} items takes at least {in_words(need.of_batch(batch_size))} of memory, but "
        f"{in_words(free)} are free {place}"
    )
    saving = (
        " or set gradient_checkpointing to on" if recipe.form.get("gradient_checkpointing") in ("off", "auto") else ""
    )
    if largest < 1:
        return f"{found}, too little for even one item: choose a smaller image_size or another template{saving}."
    return f"{found}: set batch_size to {largest} or less, choose a smaller image_size{saving}."


def _available_here(meminfo: Path) -> int:
    """What the kernel would give to a new process without swapping."""
    if not meminfo.exists():
        return _NO_LIMIT
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return 1024 * int(lines["MemAvailable"].split()[0])


def _left_in_container(folder: Path) -> int:
    """What the control group of this process may still take, file caches not counted; versions 2 and 1 of cgroups."""
    for limit, used, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        path = folder / limit
        if path.is_file() and (text := path.read_text().strip()) != "max" and int(text) < _NO_LIMIT:
            statistics = path.with_name("memory.stat").read_text().split()
            reclaimable = int(dict(zip(statistics[::2], statistics[1::2], strict=True)).get(cache, 0))
            return max(0, int(text) - int((folder / used).read_text()) + reclaimable)
    return _NO_LIMIT
