"""The curves of a training: from its events, points few enough to keep and to draw however long it is; no torch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lehr.learn.events import EpochEnded, Event, Stepped

MOST_POINTS = 1000
"""Of steps, over a whole run: more than a screen is wide. A longer run's points are means over several steps."""

Point = dict[str, Any]
"""JSON values. `kind` "step": step, epoch (with a fraction), loss, lr, items_per_second. `kind` "epoch": step, epoch,
train_loss, lr, seconds, and metrics on the held-out items where the epoch was evaluated."""


@dataclass
class Curves:
    """Feed it every event of one run, in order, and take the points now and then."""

    clock: Callable[[], float] = time.monotonic
    _waiting: list[tuple[Point, list[Stepped]]] = field(default_factory=list, init=False)
    """Points, each with the steps whose losses are not read yet."""
    _steps: list[Stepped] = field(default_factory=list, init=False)
    _began: float | None = field(default=None, init=False)

    def update(self, event: Event) -> None:
        """Notes the event. Reads no loss: that would make a GPU wait at every step."""
        if isinstance(event, Stepped):
            self._step(event)
        elif isinstance(event, EpochEnded):
            self._waiting.append((_of_epoch(event), []))
            self._began = None  # evaluating is no step

    def take(self) -> list[Point]:
        """The points since the last call."""
        taken, self._waiting = self._waiting, []
        return [_with_loss(point, steps) for point, steps in taken]

    def give_back(self, points: list[Point]) -> None:
        """Points that were taken, but could not be kept: they come again at the next call."""
        self._waiting[:0] = [(point, []) for point in points]

    def _step(self, event: Stepped) -> None:
        self._steps.append(event)
        if event.step % math.ceil(event.num_steps / MOST_POINTS) and event.step != event.num_steps:
            return
        steps, self._steps = self._steps, []
        now, began = self.clock(), self._began
        self._began = now
        point: Point = {"kind": "step", "step": event.step, "epoch": _epochs(event), "lr": event.lr}
        if began is not None and now > began:
            point["items_per_second"] = sum(step.num_items for step in steps) / (now - began)
        self._waiting.append((point, steps))


def _epochs(event: Stepped) -> float:
    return event.step * event.num_epochs / event.num_steps


def _of_epoch(event: EpochEnded) -> Point:
    return {
        "kind": "epoch",
        "step": event.step,
        "epoch": event.epoch,
        "train_loss": _finite(event.train_loss),
        "lr": event.lr,
        "seconds": event.seconds,
        "metrics": {name: _finite(value) for name, value in (event.metrics or {}).items()},
    }


def _with_loss(point: Point, steps: list[Stepped]) -> Point:
    if not steps:
        return point
    loss = sum(step.loss * step.num_items for step in steps) / sum(step.num_items for step in steps)
    return {**point, "loss": _finite(loss)}


def _finite(value: float) -> float | None:
    """JSON knows no others."""
    return float(value) if math.isfinite(value) else None
