"""How the step size changes over a run: pure functions of the position, counted in epochs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Constant for `init_epochs`, then multiplied by `decay` every `step_epochs`."""

    init_epochs: int
    step_epochs: int
    decay: float

    @classmethod
    def over(cls, num_epochs: int, *, init: int | None, step: int | None, decay: float | None) -> Steps:
        """Of a run of `num_epochs`, from what is known: without `init` the first drop comes after the first `step`;
        without `step` there is no second drop, without both none at all; without `decay`, see `default_decay`."""
        init_epochs, step_epochs = init or step or num_epochs, step or num_epochs
        factor = default_decay(num_epochs, init_epochs, step_epochs) if decay is None else decay
        return cls(init_epochs=init_epochs, step_epochs=step_epochs, decay=factor)

    def __call__(self, epochs: float) -> float:
        """Changes at whole epochs only."""
        return self.decay ** num_drops(int(epochs), self.init_epochs, self.step_epochs)


@dataclass(frozen=True, kw_only=True)
class Triangle:
    """Up in a straight line from `start` to 1 at `peak` of the run, then down to `end`."""

    num_epochs: int
    start: float = 0.2
    peak: float = 0.23
    end: float = 0.07

    def __call__(self, epochs: float) -> float:
        """Changes at every step."""
        done = min(epochs / self.num_epochs, 1.0)
        if done < self.peak:
            return self.start + (1.0 - self.start) * done / self.peak
        return 1.0 + (self.end - 1.0) * (done - self.peak) / (1.0 - self.peak)


@dataclass(frozen=True, kw_only=True)
class WarmedUp:
    """Another schedule, reached in a straight line from 0 within the first `epochs` (a fraction, too)."""

    schedule: Schedule
    epochs: float

    def __call__(self, epochs: float) -> float:
        """Changes at every step while it warms up; the very first step takes a hundredth."""
        factor = min(1.0, max(0.01, epochs / self.epochs)) if self.epochs > 0 else 1.0
        return factor * self.schedule(epochs)


Schedule = Steps | Triangle | WarmedUp
"""Position in epochs (2.5: in the middle of the third) -> factor of the step size."""


def facts_of(schedule: Schedule) -> dict[str, Any]:
    """What it comes to, for the record: its name, and its numbers as they were resolved."""
    facts = {"name": type(schedule).__name__, **asdict(schedule)}
    return facts | {"schedule": facts_of(schedule.schedule)} if isinstance(schedule, WarmedUp) else facts


def num_drops(epoch: int, init_epochs: int, step_epochs: int) -> int:
    """How often the step size has dropped in epoch `epoch` (from 0)."""
    return 0 if epoch < init_epochs else 1 + (epoch - init_epochs) // step_epochs


def default_decay(num_epochs: int, init_epochs: int, step_epochs: int) -> float:
    """A tenth per drop, but over a whole run never below a thousandth: max(0.1, 10^(-3 / drops))."""
    drops = num_drops(num_epochs - 1, init_epochs, step_epochs)
    return max(0.1, 10.0 ** (-3.0 / drops)) if drops else 0.1
