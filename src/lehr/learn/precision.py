"""bfloat16 or float32: whichever ten steps on this machine show to be faster for this very network.

Hardware that computes bfloat16 is not faster with it at everything: small networks and grouped convolutions can lose.
What was measured is remembered in a folder, so that the next training computes alike.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lehr.errors import TrainingStopped
from lehr.learn.checkpoint import State
from lehr.learn.data.dataset import Data
from lehr.learn.data.order import DataOrder
from lehr.learn.device import Device
from lehr.learn.events import Stepped
from lehr.learn.loop import train
from lehr.learn.machine import machine
from lehr.learn.probe import random_data
from lehr.learn.recipe import Recipe

AUTO, BF16, F32 = "auto", "bf16", "f32"
CHOICES = (AUTO, BF16, F32)
_STEPS = 5
"""In each; the first warms up and does not count."""
_PIXELS = 8 * 224**2
"""Of the items of such a step on a CPU; a GPU that gets as few waits for what launches its work."""
_SHORTEST_SECONDS = 0.002
"""Steps below this are of a head on cached features, or too short to tell."""
_CLEARLY = 0.9
"""float32 is taken where its steps take less than this share: what is nearly equal is not to be decided by chance."""
OnStep = Callable[[int, int], None]
_UNKNOWN = {BF16: 0.0, F32: 0.0}


@dataclass(frozen=True, kw_only=True)
class Precision:
    """How to decide. `choice`: auto; bf16, wherever the hardware has it; f32."""

    choice: str = AUTO
    folder: Path
    """What was measured on this machine is remembered there."""

    def decided(
        self, recipe: Recipe, data: Data, resumed: State | None = None, *, on_step: OnStep = lambda done, total: None
    ) -> Recipe:
        """The recipe with its device's precision settled; what is resumed goes on as it began, where that is possible.

        Where it measures, it sets this process's thread count, and tells of each step how many of how many are done.
        """
        device = recipe.problem.device
        if not device.is_bf16:
            return recipe
        if resumed is not None:
            return recipe if resumed.facts.get("precision", BF16) == BF16 else _in_f32(recipe)
        if self.choice != AUTO:
            return _in_f32(recipe) if self.choice == F32 else recipe
        seconds = self.remembered(recipe) or self._measured(recipe, data.order, on_step)
        if not _is_f32_better(seconds):
            return recipe
        told = (
            f"Computed in float32: a step took {seconds[F32]:.3g} s when tried here, in bfloat16 {seconds[BF16]:.3g} s."
        )
        return replace(_in_f32(recipe), notices=(*recipe.notices, told))

    def foreseen(self, recipe: Recipe) -> Recipe:
        """As it would be decided, where that is remembered: measures nothing."""
        is_f32 = self.choice == F32 or (self.choice == AUTO and _is_f32_better(self.remembered(recipe) or _UNKNOWN))
        return _in_f32(recipe) if is_f32 else recipe

    def remembered(self, recipe: Recipe) -> Mapping[str, float] | None:
        """Precision → seconds of a step, as measured here before; None if it was not."""
        try:
            found = json.loads(self._place(recipe).read_text())
            return {name: float(found[name]) for name in (BF16, F32)}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _measured(self, recipe: Recipe, order: DataOrder, on_step: OnStep) -> Mapping[str, float]:
        try:
            with tempfile.TemporaryDirectory(prefix="lehr-precision-") as folder:
                data = random_data(order, Path(folder))
                size = _size_of(recipe)
                on_step(0, 2 * _STEPS)
                few = replace(recipe, batch_size=size, num_items_per_epoch=_STEPS * size)
                seconds = {
                    BF16: _step_seconds(few, data, lambda done: on_step(done, 2 * _STEPS)),
                    F32: _step_seconds(_in_f32(few), data, lambda done: on_step(_STEPS + done, 2 * _STEPS)),
                }
        except (TrainingStopped, torch.OutOfMemoryError):  # in float32 it needs twice the memory
            return _UNKNOWN
        finally:
            if recipe.problem.device.is_cuda:
                torch.cuda.empty_cache()  # what the trials took is for the training, its pictures first
        place = self._place(recipe)
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_suffix(f".partial-{os.getpid()}")
        partial.write_text(json.dumps(seconds))
        partial.replace(place)
        return seconds

    def _place(self, recipe: Recipe) -> Path:
        """Named by all that the speed of a step depends on; how many concepts there are hardly counts."""
        device = recipe.problem.device
        arguments = {name: value for name, value in recipe.net.arguments.items() if name != "num_concepts"}
        net = [recipe.template, recipe.net.name, arguments, recipe.preprocessing.side, recipe.descent.multipliers]
        facts = [*net, _size_of(recipe), device.name, device.threads, _gpu(device), machine()]
        words = json.dumps(facts, sort_keys=True, default=str)
        return self.folder / f"{hashlib.sha256(words.encode()).hexdigest()[:32]}.json"


def _is_f32_better(seconds: Mapping[str, float]) -> bool:
    return seconds[BF16] > _SHORTEST_SECONDS and seconds[F32] < _CLEARLY * seconds[BF16]


def _in_f32(recipe: Recipe) -> Recipe:
    device = replace(recipe.problem.device, is_bf16=False)
    return replace(recipe, problem=replace(recipe.problem, device=device))


def _size_of(recipe: Recipe) -> int:
    if recipe.problem.device.is_cuda:
        return recipe.batch_size
    return max(1, min(recipe.batch_size, _PIXELS // recipe.preprocessing.side**2))


def _gpu(device: Device) -> str:
    return torch.cuda.get_device_name(device.name) if device.is_cuda else ""


def _step_seconds(recipe: Recipe, data: Data, on_step: Callable[[int], None]) -> float:
    """Of one step, the fastest: the others were disturbed."""
    device, moments = recipe.problem.device, []
    for event in train(replace(recipe, num_epochs=1), data):
        if isinstance(event, Stepped):
            if device.is_cuda:
                torch.cuda.synchronize(device.name)
            moments.append(time.perf_counter())
            on_step(len(moments))
            if len(moments) == _STEPS:
                break  # before the epoch's end, which is judged
    return min(after - before for before, after in itertools.pairwise(moments))
