"""Trains a head on a frozen base's cached features, or solves it at once.

Shapes: B batch, N items, D features, K concepts, V views.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping

import numpy as np
import torch
from torch import nn

from lehr.learn.data.dataset import Data
from lehr.learn.data.features import cached_features
from lehr.learn.events import Noted, Preparing
from lehr.learn.losses.by_activation import Loss, activated, loss_of
from lehr.learn.losses.multi_label import prior_logits
from lehr.learn.metrics.classification import quick_metrics
from lehr.learn.nets.catalogue import build
from lehr.learn.nets.head import StandardisedHead
from lehr.learn.preprocessing import CENTER, with_mirrors
from lehr.learn.recipe import Recipe
from lehr.learn.weights import load_pretrained

_SOLVER_ITERATIONS = 200
_SOLVER_L2 = 1e-3


class FeatureLearner:
    """The head alone, on features that were computed once: original and, where mirroring is on, mirror."""

    def __init__(self, base_and_head: nn.Module, features_VND: torch.Tensor, recipe: Recipe, data: Data) -> None:
        self.base_and_head, self.recipe, self.data = base_and_head, recipe, data
        place = recipe.problem.device.name
        self.features_VND = features_VND.to(place)
        self.targets_NK = torch.from_numpy(data.targets_NK).to(place)
        self.net = StandardisedHead(self._of_items(data.train_indices), len(recipe.problem.concepts)).to(place)
        self.loss_of_logits: Loss = loss_of(recipe.activation)

    def loss(self, indices: np.ndarray, generator: np.random.Generator) -> torch.Tensor:
        """As Learner.loss."""
        chosen_B = self.data.train_indices[indices]
        rows_B = torch.from_numpy(self.data.rows_N[chosen_B])
        flip_probability = 0.5 if len(self.features_VND) > 1 else 0.0
        views_B = torch.from_numpy((generator.random(len(indices)) < flip_probability).astype(np.int64))
        place = self.targets_NK.device
        features_BD = self.features_VND[views_B.to(place), rows_B.to(place)]
        return self.loss_of_logits(self.net(features_BD), self.targets_NK[torch.from_numpy(chosen_B).to(place)])

    def judge(self) -> Mapping[str, float]:
        """As Learner.judge; the original view only."""
        self.net.eval()
        held_N = self.data.held_indices
        with torch.inference_mode():
            logits_NK = self.net(self._of_items(held_N))
            loss = float(self.loss_of_logits(logits_NK, self.targets_NK[torch.from_numpy(held_N)]))
            probabilities_NK = activated(self.recipe.activation, logits_NK)
        return {"loss": loss, **quick_metrics(probabilities_NK.cpu().numpy(), self.data.targets_NK[held_N])}

    def whole(self) -> nn.Module:
        """As Learner.whole: the base with the head, which takes raw features again."""
        self.net.write_into(self.base_and_head.head)  # type: ignore[arg-type]
        return self.base_and_head

    def begin_at_priors(self) -> None:
        """The head's first weights: every concept as probable as it is frequent."""
        problem = self.recipe.problem
        if self.recipe.activation == "sigmoid":
            with torch.no_grad():
                self.net.linear.bias.copy_(prior_logits(problem.positives, problem.num_items))

    def solve(self) -> None:
        """Sets the head to the minimum of the regularised loss on all training items (L-BFGS, deterministic)."""
        features_ND = self._of_items(self.data.train_indices)
        targets_NK = self.targets_NK[torch.from_numpy(self.data.train_indices)]
        weight = self.net.linear.weight
        solver = torch.optim.LBFGS(
            self.net.parameters(), max_iter=_SOLVER_ITERATIONS, history_size=20, line_search_fn="strong_wolfe"
        )

        def objective() -> torch.Tensor:
            solver.zero_grad()
            total = self.loss_of_logits(self.net(features_ND), targets_NK) + _SOLVER_L2 * weight.square().sum()
            total.backward()
            return total

        solver.step(objective)

    def _of_items(self, indices: np.ndarray) -> torch.Tensor:
        """[n, D] of the original view of the given items."""
        return self.features_VND[0, torch.from_numpy(self.data.rows_N[indices])]


def feature_learning(recipe: Recipe, data: Data, is_fresh: bool) -> Generator[Preparing | Noted, None, FeatureLearner]:
    """The `begin` of a recipe with a frozen base."""
    net = build(recipe.net.name, recipe.net.arguments)
    provenance = load_pretrained(net.base, recipe.provenance["name"], recipe.problem.weights)  # type: ignore[arg-type]
    learner = yield from learner_on(net, provenance.sha256, recipe, data)
    if is_fresh:
        learner.begin_at_priors()
    return learner


def learner_on(
    net: nn.Module, weights_sha256: str, recipe: Recipe, data: Data
) -> Generator[Preparing | Noted, None, FeatureLearner]:
    """Features of `net.base`, from the cache or computed, and a fresh head on them."""
    device = recipe.problem.device
    net = net.to(device.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
    is_mirrored = any(view.is_mirrored for view in recipe.preprocessing.views)
    features = []
    for view in with_mirrors(CENTER) if is_mirrored else CENTER:
        base: nn.Module = net.base  # type: ignore[assignment]
        features.append(
            (yield from cached_features(base, weights_sha256, data.pack, recipe.preprocessing, view, device))
        )
    return FeatureLearner(net, torch.stack(features), recipe, data)
