"""Trains the whole network on crops of packed pictures. Shapes: B batch, S crop side, K concepts."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial

import numpy as np
import torch
from torch import nn

from lehr.learn.data.crops import Augmentation, View
from lehr.learn.data.dataset import Data
from lehr.learn.data.images import Images
from lehr.learn.data.normalise import normalised
from lehr.learn.device import Device
from lehr.learn.events import Noted, Preparing
from lehr.learn.losses.by_activation import Loss, activated, loss_of
from lehr.learn.metrics.classification import quick_metrics
from lehr.learn.nets.catalogue import build
from lehr.learn.recipe import BeginLearning, Recipe

Preparation = Generator[Preparing | Noted, None, None]
Begin = Callable[[nn.Module, "PixelLearner"], Preparation]
"""(fresh network, its learner) -> gives it good first weights: pretrained, whitened, probed, …"""

_TOO_SMALL_FOR_NORMS = 8
_JUDGED_BATCH = 64


class PixelLearner:
    """The whole network, on crops drawn afresh at every step."""

    def __init__(self, net: nn.Module, recipe: Recipe, data: Data, augmentation: Augmentation, loss: Loss) -> None:
        self.net, self.recipe, self.data = net, recipe, data
        self.augmentation, self.loss_of_logits = augmentation, loss
        self.device: Device = recipe.problem.device
        self.images = Images(data.pack, self.device)
        self.targets_NK = torch.from_numpy(data.targets_NK).to(self.device.name)

    def loss(self, indices: np.ndarray, generator: np.random.Generator) -> torch.Tensor:
        """As Learner.loss."""
        chosen_B = self.data.train_indices[indices]
        crops = self.augmentation.draw(self.data.pack, self.data.rows_N[chosen_B], generator)
        x_BCSS = normalised(self.images.crops(crops), self.recipe.preprocessing)
        targets_BK = self.targets_NK[torch.from_numpy(chosen_B).to(self.device.name)]
        with self.device.autocast():
            logits_BK = self.net(x_BCSS)
        return self.loss_of_logits(logits_BK, targets_BK)

    def judge(self) -> Mapping[str, float]:
        """As Learner.judge; one centred look at each held-out picture."""
        held_N = self.data.held_indices
        logits_NK = self.logits(self.net, held_N, View())
        targets_NK = self.targets_NK[torch.from_numpy(held_N).to(self.device.name)]
        loss = float(self.loss_of_logits(logits_NK, targets_NK))
        probabilities_NK = activated(self.recipe.activation, logits_NK)
        return {"loss": loss, **quick_metrics(probabilities_NK.cpu().numpy(), self.data.targets_NK[held_N])}

    def whole(self) -> nn.Module:
        """As Learner.whole."""
        return self.net

    def logits(self, net: nn.Module, indices: np.ndarray, view: View) -> torch.Tensor:
        """float32 [N, K] of one view of the given items (of all items, not only the training ones)."""
        net.eval()
        with torch.inference_mode(), self.device.autocast():
            return torch.cat([net(x_BCSS).float() for x_BCSS in self._views(indices, view)])

    def _views(self, indices: np.ndarray, view: View) -> Iterator[torch.Tensor]:
        preprocessing = self.recipe.preprocessing
        for start in range(0, len(indices), _JUDGED_BATCH):
            rows_B = self.data.rows_N[indices[start : start + _JUDGED_BATCH]]
            yield normalised(self.images.crops(view.crops(self.data.pack, rows_B, preprocessing.side)), preprocessing)


def pixel_learning(
    augmentation: Augmentation, begin: Begin, *, smoothing: float = 0.0, freezes_norms: bool = False
) -> BeginLearning:
    """The `begin` of a recipe that trains the whole network; the function `begin` here gives it its first weights.

    `freezes_norms` keeps a pretrained base's statistics, which a few small batches of other pictures would only spoil.
    """

    def begin_learning(recipe: Recipe, data: Data, is_fresh: bool) -> Generator[Preparing | Noted, None, PixelLearner]:
        torch.manual_seed(recipe.seed)
        net = build(recipe.net.name, recipe.net.arguments)
        net = net.to(recipe.problem.device.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
        learner = PixelLearner(net, recipe, data, augmentation, loss_of(recipe.activation, smoothing))
        if freezes_norms or recipe.batch_size < _TOO_SMALL_FOR_NORMS:
            _freeze_norms(net)
        if is_fresh:
            yield from begin(net, learner)
        return learner

    return begin_learning


def _freeze_norms(net: nn.Module) -> None:
    """Keeps norms in evaluation mode for good: statistics of a few pictures are noise."""
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train = partial(_stay_in_evaluation, module)  # type: ignore[assignment,method-assign]


def _stay_in_evaluation(module: nn.Module, mode: bool = True) -> nn.Module:
    module.training = False
    return module
