"""What a template hands to the loop: plain values, and the function that makes the thing to be trained."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lehr.learn.events import Noted, Preparing
from lehr.learn.preprocessing import Preprocessing
from lehr.learn.problem import Problem
from lehr.learn.schedule import Schedule

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lehr.learn.data.dataset import Data


class Learner(Protocol):
    """A network (or a part of one) together with the data that it learns from."""

    @property
    def net(self) -> nn.Module:
        """What the optimiser changes and a checkpoint keeps; never wrapped."""
        ...

    def draw(self, indices: np.ndarray, generator: np.random.Generator) -> Any:
        """What a step over the training items `indices` (int64 [B], 0 … num_train - 1) learns from, on its device.

        All that is random comes from `generator`. On a GPU it is called in a thread of its own, a step ahead.
        """
        ...

    def loss(self, drawn: Any) -> torch.Tensor:
        """Mean loss over what `draw` gave, ready for backward()."""
        ...

    def judge(self) -> Mapping[str, float]:
        """Figures on the held-out items, by name."""
        ...

    def whole(self) -> nn.Module:
        """The network that predicts: normalised float32 [N, 3, S, S] -> logits [N, K], or what `Recipe.output` says."""
        ...

    def take_over(self, tensors: Mapping[str, torch.Tensor], rows: Sequence[int | None]) -> None:
        """Begins with the tensors of an earlier model of the same template instead of fresh ones.

        `rows`: for each concept its number in the earlier model, None where it is new there.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Net:
    """How to build a network again: its name in nets/catalogue.py and the arguments of its constructor."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Descent:
    """Stochastic gradient descent with momentum. Weight decay spares biases and norms."""

    lrate: float
    """Step size of a full batch; a smaller last batch takes a proportionally smaller step."""
    momentum: float = 0.9
    weight_decay: float = 1e-4
    is_nesterov: bool = True
    max_gradient_norm: float | None = None
    """Longer gradients (over all parameters together) are shortened to this."""
    max_tensor_gradient_norm: float | None = None
    """Longer gradients of a single tensor are shortened to this, see optim.py."""
    multipliers: tuple[tuple[str, float], ...] = ()
    """(pattern of parameter names, factor of the step size); the first match counts."""


BeginLearning = Callable[["Recipe", "Data", bool], Generator[Preparing | Noted, None, Learner]]
"""(recipe, data, is_fresh) -> learner. `is_fresh` False: weights will be loaded over it, need not be good."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training, decided. Data and recipe together determine the weights."""

    template: str
    form: Mapping[str, Any]
    """The hyperparameters as given and defaulted, for the record."""
    problem: Problem
    net: Net
    begin: BeginLearning = field(repr=False)
    """Makes the network with its first weights, and ties it to the data."""
    preprocessing: Preprocessing
    activation: str
    """"sigmoid" or "softmax"."""
    descent: Descent
    schedule: Schedule
    batch_size: int
    num_epochs: int
    num_items_per_epoch: int = 0
    """Items drawn per epoch; 0: as many as there are."""
    test_freq: int = 1
    """Epochs between evaluations; 0: only after the last."""
    seed: int = 0
    is_balanced: bool = False
    """Draw equally from every concept."""
    output: str = "probabilities"
    """What the finished network gives: "probabilities", "embedding" or "detections"."""
    is_averaged: bool = False
    """Lookahead: the weights follow a slow average of themselves, see optim.py."""
    notices: tuple[str, ...] = ()
    """What the person should know before the training begins."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Where pretrained weights came from: name, licence, hash."""

    @property
    def served_activation(self) -> str:
        """What follows the finished network: its activation, or "none" where it gives something finished."""
        return self.activation if self.output == "probabilities" else "none"

    @property
    def items_per_epoch(self) -> int:
        """Items drawn per epoch."""
        return self.num_items_per_epoch or self.problem.num_items

    def is_tested(self, epoch: int) -> bool:
        """True if the held-out items are evaluated after epoch `epoch` (from 1)."""
        return epoch == self.num_epochs or (self.test_freq > 0 and epoch % self.test_freq == 0)
