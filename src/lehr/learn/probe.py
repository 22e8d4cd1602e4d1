"""Measures on this machine how long a training would take: a few real steps of the real loop, on random pictures.

Nothing of it is kept. What does not depend on pixels (labels, numbers of items) is left to the caller's arithmetic.
"""

from __future__ import annotations

import copy
import hashlib
import io
import itertools
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lehr.learn.bundle import write_bundle
from lehr.learn.checkpoint import State
from lehr.learn.data.dataset import Data, build_data
from lehr.learn.data.decode import Decoded, decode
from lehr.learn.data.features import STAGE as FEATURES
from lehr.learn.data.order import DataOrder
from lehr.learn.data.packs import Packs
from lehr.learn.device import Device
from lehr.learn.evaluate import evaluate
from lehr.learn.events import EpochEnded, Preparing, Stepped
from lehr.learn.free_memory import Need
from lehr.learn.items import Box, Item
from lehr.learn.learners.features import FeatureLearner, Features
from lehr.learn.learners.solved import STAGE as SOLVING
from lehr.learn.loop import train, trained_net
from lehr.learn.memory_limit import check_memory
from lehr.learn.out_of_memory import explained
from lehr.learn.pace import Pace
from lehr.learn.recipe import Learner, Recipe

_NUM_ITEMS, _NUM_HELD_OUT = 40, 20
"""Few: features of all of them are computed, and at large image sizes there are fewer still. Half are held out: judging
a network with random weights looks at some training items, too, which is not to count for each held-out one."""
_FULL_SIZE = 256
"""Up to this image size there are `_NUM_ITEMS`."""
_STEPS = 4
"""Of every batch size; the first warms up and does not count."""
_FIRST_BATCH = 8
_SOLVED_SIZES = (1024, 8192)
"""Items; the features of the second lie in no cache, as those of real sets do not."""
_TIMED_ITERATIONS = 3
_EVALUATIONS = 200
"""Of the loss, until the best of all penalties is found. Counted on digits (EfficientNet-Lite0, 64 pixels, 2026-11-22):
softmax 69 with 180 items and 99 with 1,438, sigmoid 142 and 256. More than 400 are not possible."""
_DECODED = (1280, 960)
"""Pixels of the picture whose decoding is timed."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What to measure, and in what time."""

    order: DataOrder
    make_recipe: Callable[[Data], Recipe]
    num_items: int
    """Items that an epoch will have: a batch is never larger than they are."""
    seconds: float
    """Larger batches, evaluation and the writing of the model are measured only while less than half of it is gone."""


@dataclass(frozen=True, kw_only=True)
class _Preparation:
    """From the recipe to the first step."""

    seconds: float
    """Without the features."""
    feature_seconds: float
    """Per picture; 0 where no features are computed."""
    need: Need
    solved: Learner | None
    """Where the head is solved, not trained in steps."""


@dataclass(frozen=True, kw_only=True)
class _Steps:
    """A short training with a few steps of one size."""

    size: int
    seconds: float
    """Of one step, the fastest: others were disturbed by what else ran on the machine."""
    judge_seconds: float
    """Per held-out item."""
    state: State


def measure(bench: Bench) -> Pace:
    """Runs the probe. Sets this process's thread count.

    Raises TrainingStopped when a batch cannot fit into the memory, and whatever the recipe refuses.
    """
    began = time.perf_counter()

    def seconds_left() -> float:
        return bench.seconds / 2 - (time.perf_counter() - began)

    with tempfile.TemporaryDirectory(prefix="lehr-probe-") as folder, ExitStack() as around:
        data = random_data(bench.order, Path(folder) / "packs")
        recipe = bench.make_recipe(data)
        around.enter_context(explained(recipe))
        device = recipe.problem.device
        idle_bytes = _peak_bytes(device)
        prepared = _prepared(recipe, data, bench.num_items)
        batch_size = min(recipe.batch_size, bench.num_items)
        first = last = _stepped(recipe, data, min(_FIRST_BATCH, batch_size))
        larger = _larger(first, batch_size, seconds_left())
        if larger:
            last = _stepped(recipe, data, larger)
        step_bytes = _peak_bytes(device) - idle_bytes + (batch_size - last.size) * prepared.need.per_item
        solved = _solve_seconds(prepared.solved) if prepared.solved else 0.0
        evaluated, written = _finished(recipe, data, last, Path(folder)) if seconds_left() > 0 else (0.0, 0.0)
    item_seconds, step_seconds = _line(first, last)
    return Pace(
        step_seconds=step_seconds,
        item_seconds=item_seconds,
        prepare_seconds=prepared.seconds,
        feature_seconds=prepared.feature_seconds,
        judge_seconds=last.judge_seconds,
        evaluate_seconds=evaluated,
        write_seconds=written,
        decode_seconds=_decode_seconds(bench.order.image_size),
        peak_bytes=step_bytes,
        item_bytes=prepared.need.per_item,
        fixed_bytes=prepared.need.fixed,
        is_on_gpu=device.is_cuda,
        solve_seconds=solved,
    )


def random_data(order: DataOrder, packs: Path) -> Data:
    """A training set of random pictures, one concept after the other, some of them held out."""
    generator = np.random.default_rng(0)
    share = min(1.0, (_FULL_SIZE / order.image_size) ** 2)
    num_held, num_items = max(2, round(share * _NUM_HELD_OUT)), max(6, round(share * _NUM_ITEMS))
    items = [_item(order, number, "test" if number < num_held else "train") for number in range(num_items)]

    def decoded(data: bytes, side: int) -> Decoded:
        height, width = side, side * 4 // 3
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        return Decoded(pixels=pixels, width=width, height=height, format="PNG")

    return build_data(order, items, packs=Packs(packs), decode=decoded, parallel=1)


def _item(order: DataOrder, number: int, split: str) -> Item:
    concept = order.concepts[number % len(order.concepts)]
    box = Box(concept=concept, top=0.25, left=0.25, bottom=0.75, right=0.75)
    return Item(
        id=str(number),
        sha256=hashlib.sha256(str(number).encode()).hexdigest(),
        read=bytes,
        positives=frozenset({concept}),
        split=split,
        boxes=(box,) if order.needs_boxes else (),
    )


def _prepared(recipe: Recipe, data: Data, num_items: int) -> _Preparation:
    """Begins as the loop does. Raises TrainingStopped when a batch cannot fit."""
    device = recipe.problem.device
    device.prepare()
    beginning = recipe.begin(recipe, data, recipe.problem.earlier is None)
    features: list[tuple[int, float]] = []
    stages = set[str]()
    began = before = _now(device)
    while True:
        try:
            event = next(beginning)
        except StopIteration as end:
            learner = end.value
            break
        stages |= {event.stage} if isinstance(event, Preparing) else set()
        if isinstance(event, Preparing) and event.stage == FEATURES:
            features.append((event.done, _now(device) - before))
        before = _now(device)
    seconds = _now(device) - began
    need, _ = check_memory(replace(recipe, num_items_per_epoch=num_items), learner, data)
    feature_seconds = _feature_seconds(features)
    return _Preparation(
        seconds=max(0.0, seconds - feature_seconds * len(data.items)),
        feature_seconds=feature_seconds,
        need=need,
        solved=learner if SOLVING in stages else None,
    )


def _feature_seconds(batches: Sequence[tuple[int, float]]) -> float:
    """Seconds per picture of all passes over the pictures, from (pictures of the pass done, seconds) per batch.

    The first batch is left out, where there are more: building the network came before it.
    """
    done = [0, *(number for number, _ in batches)]
    sizes = [after - before if after > before else after for before, after in itertools.pairwise(done)]
    passes = sum(after <= before for before, after in itertools.pairwise(done)) + bool(batches)
    timed = list(zip(sizes, batches, strict=True))[len(batches) > 1 :]
    num_pictures = sum(size for size, _ in timed)
    return passes * sum(seconds for _, (_, seconds) in timed) / num_pictures if num_pictures else 0.0


def _solve_seconds(learner: Learner) -> float:
    """Per training item, of finding a head: how much longer an evaluation of its loss takes with every item, times as
    many evaluations as it takes. What they take whatever the items is in the preparation already."""
    assert isinstance(learner, FeatureLearner), "what is solved is a head on features"
    fewer, more = (_evaluation_seconds(learner, size) for size in _SOLVED_SIZES)
    return _EVALUATIONS * max(0.0, more - fewer) / (_SOLVED_SIZES[1] - _SOLVED_SIZES[0])


def _evaluation_seconds(learner: FeatureLearner, size: int) -> float:
    """Of the loss of `size` items and its gradient, the faster of two short solutions."""
    data = learner.data
    rows = np.resize(data.train_indices, size)
    many = replace(
        data,
        items=tuple(data.items[row] for row in rows),
        rows_N=data.rows_N[rows],
        targets_NK=data.targets_NK[rows],
        is_held_N=np.zeros(size, dtype=bool),
        groups_N=data.groups_N[rows],
    )
    seconds = []
    for _ in range(2):
        twin, evaluations = copy.copy(learner), itertools.count()
        twin.data, twin.net = many, copy.deepcopy(learner.net)
        twin.features = Features(learner.features.features_VND, 0.0, many, learner.recipe.problem.device)

        def counted(logits_NK: Tensor, targets_NK: Tensor, evaluations: Iterator[int] = evaluations) -> Tensor:
            next(evaluations)
            return learner.loss_of_logits(logits_NK, targets_NK)

        twin.loss_of_logits = counted
        torch.nn.init.zeros_(twin.net.linear.weight)
        device, before = learner.recipe.problem.device, _now(learner.recipe.problem.device)
        twin.solve(iterations=_TIMED_ITERATIONS)
        seconds.append((_now(device) - before) / next(evaluations))
    return min(seconds)


def _stepped(recipe: Recipe, data: Data, size: int) -> _Steps:
    """Trains for a few epochs of one step each, as the loop does it, and looks at the clock."""
    device = recipe.problem.device
    step_seconds: list[float] = []
    before = _now(device)
    for event in train(replace(recipe, num_items_per_epoch=size, num_epochs=_STEPS, test_freq=0), data):
        now = _now(device)
        if isinstance(event, Stepped):
            step_seconds.append(now - before)
        elif isinstance(event, EpochEnded) and event.epoch == event.num_epochs:
            judge_seconds, state = now - before, event.state()
        before = _now(device)
    return _Steps(
        size=size,
        seconds=min(step_seconds[1:]),
        judge_seconds=judge_seconds / data.num_held_out,
        state=state,
    )


def _larger(first: _Steps, batch_size: int, seconds: float) -> int | None:
    """The size of a second run that takes half of the seconds; None where it would say little more than the first."""
    affordable = int(first.size * seconds / (2 * _STEPS * first.seconds))
    size = min(batch_size, affordable)
    return size if size >= 1.5 * first.size or first.size < size == batch_size else None


def _finished(recipe: Recipe, data: Data, steps: _Steps, folder: Path) -> tuple[float, float]:
    """Seconds per held-out item of the evaluation; seconds of what is done once after the last step."""
    built = _seconds(lambda: trained_net(recipe, data, steps.state))
    began = time.perf_counter()
    evaluation = evaluate(recipe, data, steps.state)
    evaluated = time.perf_counter()
    write_bundle(recipe, data, steps.state, evaluation, folder / "model")
    written = time.perf_counter() - evaluated
    return max(0.0, evaluated - began - built) / data.num_held_out, built + written


def _line(first: _Steps, last: _Steps) -> tuple[float, float]:
    """(seconds per item, seconds per step) of the line through two runs; through zero where they say no more."""
    slope = (last.seconds - first.seconds) / (last.size - first.size) if last.size > first.size else 0.0
    if slope <= 0 or first.seconds < slope * first.size:
        return last.seconds / last.size, 0.0
    return slope, first.seconds - slope * first.size


def _decode_seconds(image_size: int) -> float:
    """Of one JPEG with the detail of a photograph, the fastest of three: the others were disturbed."""
    width, height = _DECODED
    coarse = np.random.default_rng(0).integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize(_DECODED, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return min(_seconds(lambda: decode(file.getvalue(), shorter_side=image_size)) for _ in range(3))


def _seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _now(device: Device) -> float:
    """The clock, once the device has done all that it was told."""
    if device.is_cuda:
        torch.cuda.synchronize(device.name)
    return time.perf_counter()


def _peak_bytes(device: Device) -> int:
    """The most memory that this process has taken so far: of the device, else of this machine."""
    if device.is_cuda:
        return torch.cuda.max_memory_reserved(device.name)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
