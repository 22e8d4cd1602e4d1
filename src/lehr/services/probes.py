"""How fast a training would go here, measured once in a child process and remembered.

The child (`lehr probe`) reads an order as JSON and answers with a pace or a refusal, so that this process needs no
torch, and is still there when a network takes more memory than there is.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lehr.errors import Busy, LehrError, TrainingStopped
from lehr.jobs.launcher import LEASH
from lehr.learn.free_memory import USABLE_SHARE, Need, free_bytes
from lehr.learn.machine import machine
from lehr.learn.pace import Pace

_KEPT_SECONDS = 7 * 24 * 3600.0
"""A pace is measured anew after a week: it may have been taken on a busy machine."""
_WITHOUT_EFFECT = frozenset(
    """
    num_epochs init_epochs step_epochs num_items_per_epoch test_freq lrate per_item_lrate per_128_lrate lrate_decay seed
    balanced_sampling invalid_data_tolerance_percent detection_score_threshold
    """.split()  # noqa: SIM905
)
"""Hyperparameters that change how much is done, or what comes of it, but not how fast it goes."""


@dataclass(frozen=True, kw_only=True)
class ProbeOrder:
    """What to measure, as the child reads it."""

    model_type: str
    template: str
    params: Mapping[str, Any]
    """The hyperparameters as given."""
    concepts: tuple[str, ...]
    num_items: int
    """Items of an epoch."""
    batch_size: int = 1
    """Items of its largest step; never more than an epoch has."""
    base: str = ""
    """Folder of a trained model whose base the training begins with."""
    earlier: str = ""
    """Folder of an earlier model that the training continues."""
    seconds: float = 0.0
    """How long it may take."""

    def to_json(self) -> str:
        """As the child gets it."""
        return json.dumps(vars(self))

    @classmethod
    def from_json(cls, text: str) -> ProbeOrder:
        """As the child reads it."""
        facts = json.loads(text)
        return cls(**facts | {"concepts": tuple(facts["concepts"])})

    def name(self) -> str:
        """A hash of all that the pace depends on: the training's, this machine's, and of what computes on it."""
        params = {name: value for name, value in self.params.items() if name not in _WITHOUT_EFFECT}
        size = [len(self.concepts), self.batch_size]
        facts = [self.model_type, self.template, params, *size, self.base, self.earlier, machine()]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class Probes:
    """Needs the command that measures, a folder to remember in, and patience. One probe runs at a time."""

    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    seconds: float = 90.0
    niceness: int = 5
    turn: threading.Lock = field(default_factory=threading.Lock)
    free_bytes: Callable[..., int] = free_bytes
    """`free_bytes(is_on_gpu=True)`: what there is for a training now."""

    def pace(self, order: ProbeOrder) -> Pace:
        """Known or measured; what is known holds as long as there is memory for such a step, or while none can be
        measured beside a training.

        Raises Busy when it takes too long, TrainingStopped when the training would not fit into the memory, and what
        the recipe refuses.
        """
        known = self._known(order)
        if known and self._fits(known, order.batch_size):
            return known
        try:
            return self._anew(order)
        except LehrError as error:  # the child's, too, which is Busy beside a training
            if known and error.code == Busy.code:
                return known
            raise

    def _anew(self, order: ProbeOrder) -> Pace:
        deadline = time.monotonic() + self.seconds
        if not self.turn.acquire(timeout=self.seconds):
            raise Busy("Other training time estimates are being measured on this machine. Try again in a minute.")
        try:
            known = self._known(order)  # by the probe that was waited for
            if known and self._fits(known, order.batch_size):
                return known
            return self._measured(order, deadline - time.monotonic())
        finally:
            self.turn.release()

    def _known(self, order: ProbeOrder) -> Pace | None:
        path = self.folder / f"{order.name()}.json"
        try:
            if time.time() - path.stat().st_mtime > _KEPT_SECONDS:
                return None
            return Pace.from_json(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _fits(self, pace: Pace, batch_size: int) -> bool:
        """Where it does not, it is measured anew: the recipe may save memory where there is less, or be refused."""
        need = Need(per_item=pace.item_bytes, fixed=pace.fixed_bytes).of_batch(batch_size)
        return need <= USABLE_SHARE * self.free_bytes(is_on_gpu=pace.is_on_gpu)

    def _measured(self, order: ProbeOrder, seconds: float) -> Pace:
        began = time.monotonic()
        answer = json.loads(self._asked(replace(order, seconds=seconds), seconds))
        if "refused" in answer:
            raise _refusal(**answer["refused"])
        pace = Pace.from_json(answer["pace"])
        pace = replace(pace, start_seconds=max(0.0, time.monotonic() - began - answer["seconds"]))
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{order.name()}.partial-{os.getpid()}"
        partial.write_text(json.dumps(pace.to_json()))
        partial.replace(self.folder / f"{order.name()}.json")
        return pace

    def _asked(self, order: ProbeOrder, seconds: float) -> str:
        """The child's last line. It dies with this thread, and with its patience."""
        leash = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), str(self.niceness)]
        with subprocess.Popen(  # noqa: S603
            [*leash, *self.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(self.environment),
            start_new_session=True,
        ) as child:
            try:
                said, complaint = child.communicate(order.to_json(), timeout=max(seconds, 0.1))
            except subprocess.TimeoutExpired:
                raise Busy(
                    f"A few steps of {order.template} could not be measured on this machine within "
                    f"{self.seconds:.0f} s: it is busy, or the training is very slow here. Try again later, or with a "
                    "smaller image_size or batch_size."
                ) from None
            finally:
                _kill_group(child.pid)
        if child.returncode == 0 and said.strip():
            return said.strip().splitlines()[-1]
        raise _ended(child.returncode, complaint)


def _kill_group(pid: int) -> None:
    """Ends the child and what it started, where they have not ended yet."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _ended(code: int, complaint: str) -> LehrError:
    if code == -signal.SIGKILL:
        return TrainingStopped(
            "The measured steps were killed, most likely because the memory ran out: choose a smaller batch_size or "
            "image_size."
        )
    last = (complaint.strip().splitlines() or ["it said nothing"])[-1]
    return LehrError(f"The training time could not be measured (exit code {code}): {last}")


def _refusal(code: int, http_status: int, details: str) -> LehrError:
    refusal = LehrError(details, code=code)
    refusal.http_status = http_status
    return refusal
