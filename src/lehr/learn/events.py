"""What a training tells its caller, in order. The caller saves, reports and stops; nothing calls back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from lehr.learn.checkpoint import State


@dataclass(frozen=True, kw_only=True)
class Preparing:
    """Work before the first step: computing features, for instance."""

    stage: str
    """What is being done, in words."""
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Noted:
    """A sentence that the person should read."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Stepped:
    """One update of the weights."""

    step: int
    """Updates so far, over the whole run."""
    num_steps: int
    epoch: int
    """From 1."""
    num_epochs: int
    lr: float
    """Step size of this update (of the group with factor 1)."""
    num_items: int
    """Items in this batch."""
    loss_tensor: torch.Tensor = field(repr=False)
    state: Callable[[], State] = field(repr=False)
    """Copies everything a resumed run needs; call it before asking for the next event."""

    @property
    def loss(self) -> float:
        """Mean loss over the batch. Reading it waits for the device."""
        return float(self.loss_tensor)


@dataclass(frozen=True, kw_only=True)
class EpochEnded:
    """An epoch is complete."""

    epoch: int
    """From 1."""
    num_epochs: int
    step: int
    num_steps: int
    lr: float
    train_loss: float
    """Mean over the items of this epoch, as they were seen."""
    metrics: Mapping[str, float] | None
    """Figures on the held-out items; None where this epoch was not evaluated."""
    seconds: float
    """Wall-clock time of this epoch, as far as this process ran it."""
    state: Callable[[], State] = field(repr=False)
    """As in `Stepped`."""

    @property
    def has_finite_loss(self) -> bool:
        """False when the training has diverged."""
        return math.isfinite(self.train_loss)


Event = Preparing | Noted | Stepped | EpochEnded
