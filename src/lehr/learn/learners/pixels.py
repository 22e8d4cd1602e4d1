"""Trains the whole network on crops of packed pictures. Shapes: B batch, S crop side, K concepts."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lehr.learn.continuation import with_rows_of
from lehr.learn.data.crops import Augmentation, View
from lehr.learn.data.dataset import Data
from lehr.learn.data.images import Images
from lehr.learn.data.normalise import normalised
from lehr.learn.data.upload import uploaded
from lehr.learn.device import Device
from lehr.learn.events import Noted, Preparing
from lehr.learn.learners.norms import begin_settling, hold_norms, measure_afresh, settle_norms
from lehr.learn.losses.by_activation import Loss, activated, loss_of
from lehr.learn.losses.multi_label import prior_logits
from lehr.learn.metrics.classification import quick_metrics
from lehr.learn.nets.catalogue import build
from lehr.learn.recipe import BeginLearning, Recipe

Preparation = Generator[Preparing | Noted, None, None]
Begin = Callable[[nn.Module, "PixelLearner"], Preparation]
"""(fresh network, its learner) -> gives it good first weights: pretrained, whitened, probed, …"""

Drawn = tuple[torch.Tensor, torch.Tensor]
"""Normalised crops, float [B, 3, S, S], and their targets, float32 [B, K]."""
Norms = Literal["by batch", "frozen", "live", "settling"]

_TOO_SMALL_FOR_NORMS = 8
_JUDGED_BATCH = 64
_SETTLING_ITEMS = 512


class PixelLearner:
    """The whole network, on crops drawn afresh at every step."""

    def __init__(self, net: nn.Module, recipe: Recipe, data: Data, augmentation: Augmentation, loss: Loss) -> None:
        self.net, self.recipe, self.data = net, recipe, data
        self.augmentation, self.loss_of_logits = augmentation, loss
        self.device: Device = recipe.problem.device
        self.images = Images(data.pack, self.device)
        self.norms: list[_BatchNorm] = []
        """Whose running statistics are to settle quickly: see `settle_norms`."""

    def loss(self, drawn: Drawn) -> torch.Tensor:
        """As Learner.loss."""
        settle_norms(self.norms)
        return self.loss_of_crops(*drawn)

    def loss_of_crops(self, x_BCSS: torch.Tensor, targets_BK: torch.Tensor) -> torch.Tensor:
        """Mean loss of normalised crops."""
        with self.device.autocast():
            logits_BK = self.net(x_BCSS)
        return self.loss_of_logits(logits_BK, targets_BK)

    def draw(self, indices: np.ndarray, generator: np.random.Generator) -> Drawn:
        """Random crops of training items, normalised float [B, 3, S, S], and their targets, float32 [B, K].

        A lone picture is drawn twice: live norms need two values of everything.
        """
        chosen_B = self.data.train_indices[np.repeat(indices, 2) if len(indices) == 1 else indices]
        crops = self.augmentation.draw(self.data.pack, self.data.rows_N[chosen_B], generator)
        x_BCSS = normalised(self.images.crops(crops), self.recipe.preprocessing)
        return x_BCSS, uploaded(self.data.targets_NK[chosen_B], self.device.name)

    def judge(self) -> Mapping[str, float]:
        """As Learner.judge; one centred look at each held-out picture."""
        self.settle()
        held_N = self.data.held_indices
        logits_NK = self.logits(self.net, held_N, View())
        targets_NK = uploaded(self.data.targets_NK[held_N], self.device.name)
        loss = float(self.loss_of_logits(logits_NK, targets_NK))
        probabilities_NK = activated(self.recipe.activation, logits_NK)
        return {"loss": loss, **quick_metrics(probabilities_NK.cpu().numpy(), self.data.targets_NK[held_N])}

    def settle(self) -> None:
        """Measures the statistics of a random network's norms afresh. Does nothing to pretrained networks."""
        if not self.norms:
            return
        count, size = min(len(self.data.train_indices), _SETTLING_ITEMS), self._judged_at_once
        chosen_N = np.resize(self.data.train_indices, max(2, count - count % size if count > size else count))
        base: nn.Module = getattr(self.net, "base", self.net)
        with self.device.autocast():
            measure_afresh(base, self._views(chosen_N, View()))

    def whole(self) -> nn.Module:
        """As Learner.whole."""
        return self.net

    def take_over(self, tensors: Mapping[str, torch.Tensor], rows: Sequence[int | None]) -> None:
        """As Learner.take_over."""
        self.net.load_state_dict(with_rows_of(tensors, self.net.state_dict(), rows))

    def logits(self, net: nn.Module, indices: np.ndarray, view: View) -> torch.Tensor:
        """float32 [N, K] of one view of the given items (of all items, not only the training ones)."""
        net.eval()
        with torch.inference_mode(), self.device.autocast():
            return torch.cat([net(x_BCSS).float() for x_BCSS in self._views(indices, view)])

    @property
    def _judged_at_once(self) -> int:
        """Pictures; norms refuse a lone one."""
        return max(2, self.recipe.preprocessing.at_once(_JUDGED_BATCH))

    def _views(self, indices: np.ndarray, view: View) -> Iterator[torch.Tensor]:
        preprocessing, size = self.recipe.preprocessing, self._judged_at_once
        for start in range(0, len(indices), size):
            rows_B = self.data.rows_N[indices[start : start + size]]
            yield normalised(self.images.crops(view.crops(self.data.pack, rows_B, preprocessing.side)), preprocessing)


def pixel_learning(
    augmentation: Augmentation,
    begin: Begin,
    *,
    smoothing: float = 0.0,
    norms: Norms = "by batch",
    adapt: Callable[[nn.Module, Recipe], object] = lambda net, recipe: None,
    learner_type: type[PixelLearner] = PixelLearner,
) -> BeginLearning:
    """The `begin` of a recipe that trains the whole network; the function `begin` here gives it its first weights.

    `norms`: "frozen" keeps a pretrained base's statistics, on which a head was solved and which a few small batches of
    other pictures would only spoil; "live" gathers them as usual; "settling" is for random weights, see `settle_norms`;
    "by batch" is "frozen" for batches of fewer than 8 pictures, else "live". `adapt` sets the network's switches, at a
    resumed start too.
    """

    def begin_learning(recipe: Recipe, data: Data, is_fresh: bool) -> Generator[Preparing | Noted, None, PixelLearner]:
        torch.manual_seed(recipe.seed)
        net = build(recipe.net.name, recipe.net.arguments)
        net = recipe.problem.device.place(net)
        learner = learner_type(net, recipe, data, augmentation, loss_of(recipe.activation, smoothing))
        adapt(net, recipe)
        if norms == "settling":
            learner.norms = begin_settling(getattr(net, "base", net))
        elif norms == "frozen" or (norms == "by batch" and recipe.batch_size < _TOO_SMALL_FOR_NORMS):
            hold_norms(getattr(net, "base", net))  # what follows a base is new
        if is_fresh:
            yield from begin(net, learner)
        return learner

    return begin_learning


def at_priors(net: nn.Module, learner: PixelLearner) -> Preparation:
    """Random weights, and of each concept the bias that makes it as probable as it is frequent."""
    problem = learner.recipe.problem
    if learner.recipe.activation == "sigmoid":
        with torch.no_grad():
            net.head.bias.copy_(prior_logits(problem.positives, problem.num_items))  # type: ignore[union-attr, operator]
    yield from ()
