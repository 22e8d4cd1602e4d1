"""The training loop: a generator that steps, tells, and knows nothing of who listens.

Everything random is a function of (seed, position), so the position is the only random state: a run stopped at any
event and resumed from that event's state goes on bit for bit as if it had not stopped: on a CPU, with the same number
of threads. On a GPU it sees the same crops in the same order, but sums are taken in no fixed order there.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from lehr.errors import TrainingStopped
from lehr.learn.advance import made_in_advance
from lehr.learn.checkpoint import State
from lehr.learn.continuation import continue_from
from lehr.learn.data.dataset import Data
from lehr.learn.data.sampler import Batches, Stream, epoch_batches
from lehr.learn.events import EpochEnded, Event, Noted, Stepped
from lehr.learn.memory_limit import check_memory
from lehr.learn.optim import Lookahead, make_optimiser, optimiser_tensors, restore_optimiser, set_lr, shorten_gradients
from lehr.learn.recipe import Learner, Recipe

_LOSS_CHECK_STEPS = 20


def train(recipe: Recipe, data: Data, resume: State | None = None) -> Iterator[Event]:
    """Trains, yielding every step and epoch; the last event is the `EpochEnded` of the last epoch.

    Stop by not asking for more. `resume` is the state of any earlier event of the same recipe and data.
    Sets this process's thread count and seeds torch's generator at every step.
    Raises TrainingStopped when a batch cannot fit into the memory, when the loss is no longer finite, or when `resume`
    belongs to another training.
    """
    device = recipe.problem.device
    device.prepare()
    yield from (Noted(text=notice) for notice in _notices(recipe, data, resume))
    earlier = recipe.problem.earlier
    learner = yield from recipe.begin(recipe, data, resume is None and earlier is None)
    if earlier and resume is None:
        yield Noted(text=continue_from(earlier, learner, recipe))
    yield from (Noted(text=notice) for notice in check_memory(recipe, learner, data).notices)
    run = _Run.of(recipe, learner, resume)
    with closing(_drawn(recipe, data, learner, run)) as drawn:
        yield from _steps(recipe, data, learner, run, drawn)


def _steps(recipe: Recipe, data: Data, learner: Learner, run: _Run, drawn: Iterator[Any]) -> Iterator[Event]:
    """All that are left, and the ends of their epochs."""
    device = recipe.problem.device
    batches = epoch_batches(recipe.items_per_epoch, recipe.batch_size)
    num_steps = len(batches) * recipe.num_epochs
    while run.epoch < recipe.num_epochs:
        began = time.perf_counter()
        for number in range(run.step_in_epoch, len(batches)):
            size = batches[number]
            lr = _lr(recipe, run, size, len(batches))
            set_lr(run.optimiser, lr)
            if not run.is_learning:  # else it walks through a thousand modules for nothing
                learner.net.train()
                run.is_learning = True
            batch = next(drawn)
            torch.manual_seed(_seed_of_step(recipe.seed, run.step))
            loss = learner.loss(batch)
            run.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            shorten_gradients(learner.net, recipe.descent)
            run.optimiser.step()
            run.count(loss.detach(), size)
            if run.lookahead:
                run.lookahead.follow(run.step, num_steps)
            if not device.is_cuda or run.step % _LOSS_CHECK_STEPS == 0:
                _check_finite(loss.item(), recipe, run)
            yield Stepped(
                step=run.step,
                num_steps=num_steps,
                epoch=run.epoch + 1,
                num_epochs=recipe.num_epochs,
                lr=lr,
                num_items=size,
                loss_tensor=loss.detach(),
                state=lambda: run.state(recipe, data),
            )
        yield _epoch_ended(recipe, data, learner, run, began, num_steps)


def _drawn(recipe: Recipe, data: Data, learner: Learner, run: _Run) -> Generator[Any, None, None]:
    """What each step that is left learns from; beside a GPU's steps, one ahead."""
    stream, batches = _stream(recipe, data), epoch_batches(recipe.items_per_epoch, recipe.batch_size)

    def draw(one: tuple[int, int, int]) -> Any:
        step, position, size = one
        return learner.draw(stream.rows(position, size), np.random.default_rng((recipe.seed, 0xD1CE, step)))

    return made_in_advance(draw, _coming(batches, run, recipe.num_epochs), beside=recipe.problem.device.is_cuda)


def _coming(batches: Batches, run: _Run, num_epochs: int) -> Iterator[tuple[int, int, int]]:
    """Of each step that is left: its number, where its items begin in the stream, and how many they are."""
    step, position, done = run.step, run.epoch * batches.num_items + run.items_in_epoch, run.step_in_epoch
    for _ in range(run.epoch, num_epochs):
        for number in range(done, len(batches)):
            yield step, position, batches[number]
            step, position = step + 1, position + batches[number]
        done = 0


def trained_net(recipe: Recipe, data: Data, state: State) -> nn.Module:
    """The whole network as it was at `state`, on the recipe's device, in evaluation mode."""
    recipe.problem.device.prepare()
    learner = _result(recipe.begin(recipe, data, False))
    learner.net.load_state_dict(state.part("net"))
    return learner.whole().eval()


@dataclass(kw_only=True)
class _Run:
    """What changes while training."""

    learner: Learner
    optimiser: torch.optim.SGD
    lookahead: Lookahead | None
    loss_sum: torch.Tensor
    """float64 []: over the items of this epoch."""
    step: int = 0
    epoch: int = 0
    """Complete epochs, reported ones included."""
    step_in_epoch: int = 0
    items_in_epoch: int = 0
    is_learning: bool = False
    """All of the network is in training mode: parts of it were not when it began, nor are they after an evaluation."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One entry per epoch: what `EpochEnded` said."""

    @classmethod
    def of(cls, recipe: Recipe, learner: Learner, resume: State | None) -> _Run:
        """Fresh, or as it was."""
        net = learner.net
        if resume:
            net.load_state_dict(resume.part("net"))
        optimiser = make_optimiser(net, recipe.descent)
        lookahead = Lookahead(net) if recipe.is_averaged else None
        loss_sum = torch.zeros((), dtype=torch.float64, device=recipe.problem.device.name)
        run = cls(learner=learner, optimiser=optimiser, lookahead=lookahead, loss_sum=loss_sum)
        if resume:
            run._restore(resume)
        return run

    def _restore(self, state: State) -> None:
        restore_optimiser(self.learner.net, self.optimiser, state.part("optimiser"))
        if self.lookahead:
            self.lookahead.restore(state.part("lookahead"))
        self.loss_sum.copy_(state.tensors["loss_sum"])
        for name in ("step", "epoch", "step_in_epoch", "items_in_epoch"):
            setattr(self, name, state.facts[name])
        self.history = list(state.facts["history"])

    def count(self, loss: torch.Tensor, num_items: int) -> None:
        """One update more."""
        self.loss_sum += loss.double() * num_items
        self.step += 1
        self.step_in_epoch += 1
        self.items_in_epoch += num_items

    def state(self, recipe: Recipe, data: Data) -> State:
        """A copy on the CPU of all that changes."""
        tensors = {f"net/{name}": value for name, value in self.learner.net.state_dict().items()}
        memory = optimiser_tensors(self.learner.net, self.optimiser)
        tensors |= {f"optimiser/{name}": value for name, value in memory.items()}
        if self.lookahead:
            tensors |= {f"lookahead/{name}": value for name, value in self.lookahead.slow.items()}
        tensors["loss_sum"] = self.loss_sum
        facts = {name: getattr(self, name) for name in ("step", "epoch", "step_in_epoch", "items_in_epoch")}
        facts |= {"history": list(self.history), **_identity(recipe, data)}
        return State(tensors={name: _copied(value) for name, value in tensors.items()}, facts=facts)


def _epoch_ended(recipe: Recipe, data: Data, learner: Learner, run: _Run, began: float, num_steps: int) -> EpochEnded:
    train_loss = float(run.loss_sum) / run.items_in_epoch
    _check_finite(train_loss, recipe, run)
    run.is_learning = False
    metrics = learner.judge() if recipe.is_tested(run.epoch + 1) and data.num_held_out else None
    lr = recipe.descent.lrate * recipe.schedule(run.epoch)
    run.history.append({"epoch": run.epoch + 1, "train_loss": train_loss, "lr": lr, **(metrics or {})})
    run.epoch, run.step_in_epoch, run.items_in_epoch = run.epoch + 1, 0, 0
    run.loss_sum.zero_()
    return EpochEnded(
        epoch=run.epoch,
        num_epochs=recipe.num_epochs,
        step=run.step,
        num_steps=num_steps,
        lr=lr,
        train_loss=train_loss,
        metrics=metrics,
        seconds=time.perf_counter() - began,
        state=lambda: run.state(recipe, data),
    )


def _lr(recipe: Recipe, run: _Run, size: int, num_batches: int) -> float:
    """The schedule at this step; a smaller last batch takes a proportionally smaller step."""
    epochs = run.epoch + run.step_in_epoch / num_batches
    return recipe.descent.lrate * recipe.schedule(epochs) * size / recipe.batch_size


def _stream(recipe: Recipe, data: Data) -> Stream:
    groups: tuple[tuple[int, ...], ...] = ()
    if recipe.is_balanced:
        targets_NK = data.targets_NK[data.train_indices]
        of_concepts = [np.flatnonzero(column) for column in targets_NK.T]
        background = np.flatnonzero(targets_NK.sum(axis=1) == 0)
        groups = tuple(tuple(rows.tolist()) for rows in [*of_concepts, background] if len(rows))
    return Stream(num_items=data.num_train, seed=recipe.seed, balanced_groups=groups)


def _seed_of_step(seed: int, step: int) -> int:
    """For dropout and the like; distinct for every step of every seed in use."""
    return (seed * 1_000_003 + step) % 2**63


def _check_finite(loss: float, recipe: Recipe, run: _Run) -> None:
    if not math.isfinite(loss):
        raise TrainingStopped(
            f"The loss became {loss} at step {run.step}: the training has diverged. The step size was "
            f"{recipe.descent.lrate:g} for batches of {recipe.batch_size}; try a tenth of it."
        )


def _identity(recipe: Recipe, data: Data) -> dict[str, Any]:
    """What a resumed run must share with the one it continues."""
    words = json.dumps([recipe.template, dict(recipe.form), recipe.problem.concepts], sort_keys=True, default=str)
    return {
        "recipe": hashlib.sha256(words.encode()).hexdigest(),
        "data": data.fingerprint,
        "threads": recipe.problem.device.threads,
        "device": recipe.problem.device.name,
        "precision": recipe.problem.device.precision,
        "torch": torch.__version__,
    }


def _notices(recipe: Recipe, data: Data, resume: State | None) -> list[str]:
    """What to say first. Raises TrainingStopped when `resume` is not of this training."""
    if not resume:
        return [*recipe.notices, *(finding.text for finding in data.findings)]
    mine: Mapping[str, Any] = _identity(recipe, data)
    for name, words in (("recipe", "template, hyperparameters or concepts"), ("data", "items or their labels")):
        if resume.facts[name] != mine[name]:
            raise TrainingStopped(f"The checkpoint was made with other {words}; start the training afresh.")
    changed = [name for name in ("threads", "device", "precision", "torch") if resume.facts.get(name) != mine[name]]
    if not changed:
        return []
    was = ", ".join(f"{name} was {resume.facts.get(name)}, is {mine[name]}" for name in changed)
    return [f"This training is resumed in other circumstances ({was}): it goes on, but not bit for bit."]


def _copied(value: torch.Tensor) -> torch.Tensor:
    return value.detach().to("cpu", copy=True).contiguous()


def _result(preparation: Generator[Any, None, Learner]) -> Learner:
    """Runs a preparation to its end, unheard."""
    while True:
        try:
            next(preparation)
        except StopIteration as end:
            return end.value
