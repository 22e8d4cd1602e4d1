"""Says before the first step that a batch will not fit, and which would, instead of dying in the middle of it.

What a step keeps for its backward pass is counted on this very network and data, at two small batch sizes: it grows by
the same amount with every item. That is less than the step will really take, so what is refused here cannot succeed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lehr.errors import TrainingStopped
from lehr.learn.data.dataset import Data
from lehr.learn.device import Device
from lehr.learn.free_memory import USABLE_SHARE, Need, free_here
from lehr.learn.nets.backbone import Backbone, checkpoint_gradients
from lehr.learn.recipe import Learner, Recipe

_SIZES = (2, 4)
_RECOMPUTING = "A batch would not fit into the memory otherwise: gradient_checkpointing is on, each step takes longer."


class Fit(NamedTuple):
    """A batch that fits: what it takes, and what had to be changed so that it does, in sentences."""

    need: Need
    notices: tuple[str, ...] = ()


def check_memory(recipe: Recipe, learner: Learner, data: Data, available: Callable[[Device], int] | None = None) -> Fit:
    """Raises TrainingStopped, naming the largest batch_size that fits, when a step clearly takes more than there is.

    Changes neither the weights nor the order of the items; where it helps, pictures that lie in the device's memory
    leave it, and the network keeps less and recomputes the rest, unless gradient_checkpointing is off.
    `available` tells the free bytes of a device.
    """
    available = available or available_bytes
    device, batch_size = recipe.problem.device, min(recipe.batch_size, recipe.items_per_epoch)
    notices: tuple[str, ...] = ()
    try:
        try:
            need = need_of(learner, data)
        except torch.OutOfMemoryError:
            if not _may_recompute(recipe, learner):
                raise
            checkpoint_gradients(learner.net)
            need, notices = need_of(learner, data), (_RECOMPUTING,)
        free = available(device)
        images = getattr(learner, "images", None)
        if need.of_batch(batch_size) > USABLE_SHARE * free and images is not None and images.leave():
            free = available(device)
        if need.of_batch(batch_size) > USABLE_SHARE * free and _may_recompute(recipe, learner):
            checkpoint_gradients(learner.net)
            need, notices = need_of(learner, data), (_RECOMPUTING,)
    except torch.OutOfMemoryError:
        raise TrainingStopped(_refusal_of_two(recipe, available(device))) from None
    if need.of_batch(batch_size) > USABLE_SHARE * free:
        raise TrainingStopped(_refusal(recipe, batch_size, need, free))
    return Fit(need, notices)


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
    return free_here()


def in_words(num_bytes: float) -> str:
    """1.5 GiB, 300 MiB."""
    mebibytes = num_bytes / 2**20
    return f"{mebibytes / 1024:.1f} GiB" if mebibytes >= 1024 else f"{mebibytes:.0f} MiB"


def seeing_saved(see: Callable[[Tensor], None]) -> AbstractContextManager[None]:
    """Within, `see` gets each tensor that a forward pass keeps for its backward pass.

    What is kept then is a view of it: a result that its own step kept as it is would keep that step in turn, through
    objects of torch's that no collector sees, and neither would ever be freed.
    """

    def keep(saved: Tensor) -> Tensor:
        see(saved)
        return saved.detach()

    return torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept)


def _kept_bytes(learner: Learner, indices: np.ndarray) -> int:
    """Bytes of all tensors that one forward pass keeps for its backward pass, each once, weights aside."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in learner.net.parameters()}
    kept: dict[int, int] = {}

    def see(saved: Tensor) -> None:
        storage = saved.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()

    with torch.random.fork_rng(_cuda_of(learner.net)), seeing_saved(see):
        loss = learner.loss(learner.draw(indices, np.random.default_rng(0)))
    del loss  # until here nothing kept was freed, so that no two of them had the same address
    return sum(kept.values())


def _cuda_of(net: nn.Module) -> list[torch.device]:
    return list({parameter.device for parameter in net.parameters() if parameter.is_cuda})


def _refusal_of_two(recipe: Recipe, free: int) -> str:
    return (
        f"Two items at a time take more memory than there is ({in_words(free)} are free {_place(recipe)}): choose a "
        f"smaller image_size{_saving(recipe)}, or see what else holds memory there."
    )


def _saving(recipe: Recipe) -> str:
    """Where it is "auto" that was done already."""
    return " or set gradient_checkpointing to on" if recipe.form.get("gradient_checkpointing") == "off" else ""


def _place(recipe: Recipe) -> str:
    device = recipe.problem.device
    return f"on {device.name}" if device.is_cuda else "here"


def _refusal(recipe: Recipe, batch_size: int, need: Need, free: int) -> str:
    largest = need.largest_batch(free)
    found = (
        f"A training step with {batch_size} items takes at least {in_words(need.of_batch(batch_size))} of memory, but "
        f"{in_words(free)} are free {_place(recipe)}"
    )
    if largest < 1:
        return (
            f"{found}, too little for even one item: choose a smaller image_size or another template{_saving(recipe)}."
        )
    return f"{found}: set batch_size to {largest} or less, choose a smaller image_size{_saving(recipe)}."
