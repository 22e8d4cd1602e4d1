"""What is said when a device's memory runs out in the middle of a training: how it was filled, and what helps.

Before the first step memory_limit.py refuses what cannot fit; it counts less than a step will take, and sees nothing of
what other processes take later.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from lehr.errors import TrainingStopped
from lehr.learn.device import Device
from lehr.learn.memory_limit import available_bytes, in_words

if TYPE_CHECKING:
    from lehr.learn.recipe import Recipe

_WORDS = ("out of memory", "ALLOC_FAILED", "DefaultCPUAllocator")
"""Of the driver where torch's allocator was not asked, of cuBLAS and cuDNN, of torch on a processor."""
_ASKED_FOR = re.compile(r"[Tt]ried to allocate ([\d.]+ \w+)")
_NOTABLE_BYTES = 2 << 30
"""What others hold of a GPU counts from here on; below it is mostly what the driver takes for this very process."""
_log = logging.getLogger(__name__)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, a GPU's or the machine's: torch has a type of its own for some of the ways it shows."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)


@contextmanager
def explained(recipe: Recipe) -> Iterator[None]:
    """Raises TrainingStopped, with a sentence for the person, where the memory runs out within; logs torch's words."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        _log.warning("the memory ran out: %s", error)
        raise TrainingStopped(_sentence(recipe, str(error))) from error


def _sentence(recipe: Recipe, said: str) -> str:
    device = recipe.problem.device
    asked = _ASKED_FOR.search(said)
    found, others = _on_gpu(device) if device.is_cuda else _on_processor(device)
    wanted = f"{asked[1]} more were asked for, and " if asked else ""
    return (
        f"The memory ran out at batch_size {recipe.batch_size} and image_size {recipe.preprocessing.image_size}: "
        f"{wanted}{found}. {_advice(recipe, others)}"
    )


def _on_gpu(device: Device) -> tuple[str, str]:
    """How the memory of the GPU is filled, and who else should be looked at."""
    try:
        free, total = torch.cuda.mem_get_info(device.name)
    except RuntimeError:  # not even the driver's own part fitted
        return f"{device.name} is full", f"end what else holds the memory of {device.name}"
    ours = torch.cuda.memory_reserved(device.name)
    theirs = max(0, total - free - ours)
    found = f"of {in_words(total)} on {device.name} this process holds {in_words(ours)}"
    if theirs < _NOTABLE_BYTES:
        return f"{found}, {in_words(free)} are free", ""
    return (
        f"{found}, others hold {in_words(theirs)}, {in_words(free)} are free",
        f"end what else holds the memory of {device.name} (nvidia-smi lists it)",
    )


def _on_processor(device: Device) -> tuple[str, str]:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{in_words(available_bytes(device))} are free of the {in_words(total)} of this machine", ""


def _advice(recipe: Recipe, others: str) -> str:
    ways = [f"set batch_size below {recipe.batch_size}"] if recipe.batch_size > 1 else []
    ways.append(f"choose an image_size below {recipe.preprocessing.image_size}")
    if recipe.form.get("gradient_checkpointing") in ("off", "auto"):
        ways.append("set gradient_checkpointing to on")
    ways += [others] if others else []
    first, *rest = ways
    told = ", ".join([first[0].upper() + first[1:], *rest[:-1]])
    return f"{told} or {rest[-1]}." if rest else f"{told}."
