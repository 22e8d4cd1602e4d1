"""From events to what a person watches: percent, time left, log lines. A pure bookkeeper; no torch."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from lehr.learn.events import EpochEnded, Event, Noted, Preparing, Stepped

_WINDOW = 100
"""Steps over which the speed is taken; evaluations and checkpoints between them count."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """How far a training is."""

    percent: int
    """0 … 99; 100 is for whoever has stored the result."""
    seconds_left: int | None
    """None until two steps have been timed."""
    text: str | None
    """A line for the log; None for most steps."""


@dataclass
class Progress:
    """Feed it every event of one run, in order."""

    clock: Callable[[], float] = time.monotonic
    _timed: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_WINDOW), init=False)
    """(time, step) of the last steps."""
    _stage: tuple[str, int] = field(default=("", -1), init=False)
    _line: Line = field(default=Line(percent=0, seconds_left=None, text=None), init=False)

    def update(self, event: Event) -> Line:
        """Where the run is after `event`."""
        match event:
            case Preparing():
                text = self._stage_text(event)
            case Noted():
                text = event.text
            case Stepped():
                self._timed.append((self.clock(), event.step))
                text = None
            case EpochEnded():
                text = epoch_text(event)
        if isinstance(event, Stepped | EpochEnded):
            self._line = self._at(event.step, event.num_steps)
        self._line = Line(percent=self._line.percent, seconds_left=self._line.seconds_left, text=text)
        return self._line

    def _at(self, step: int, num_steps: int) -> Line:
        left = None if len(self._timed) < 2 else round(self._seconds_per_step() * (num_steps - step))
        return Line(percent=min(99, 100 * step // num_steps), seconds_left=left, text=None)

    def _seconds_per_step(self) -> float:
        (began, first), (ended, last) = self._timed[0], self._timed[-1]
        return (ended - began) / (last - first)

    def _stage_text(self, event: Preparing) -> str | None:
        """At the beginning of a stage and at every quarter of it."""
        quarter = 4 * event.done // max(event.total, 1)
        if self._stage == (event.stage, quarter):
            return None
        self._stage = (event.stage, quarter)
        return f"{event.stage}: {event.done} of {event.total}"


def epoch_text(event: EpochEnded) -> str:
    """One line: epoch 3/10  loss 0.412  held-out accuracy 0.981, loss 0.390  lr 0.1  2.1 s."""
    words = [f"epoch {event.epoch}/{event.num_epochs}", f"loss {event.train_loss:.4f}"]
    if event.metrics:
        figures = ", ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
        words.append(f"held out: {figures}")
    words += [f"lr {event.lr:.4g}", f"{event.seconds:.1f} s"]
    return "  ".join(words)
