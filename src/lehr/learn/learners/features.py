"""Trains a head on a frozen base's cached features, or solves it at once.

Shapes: B batch, N items, D features, K concepts, V views.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from lehr.learn.base_weights import BaseWeights
from lehr.learn.continuation import merged_rows
from lehr.learn.data.dataset import Data
from lehr.learn.data.features import cached_features
from lehr.learn.device import exact_products
from lehr.learn.events import Noted, Preparing
from lehr.learn.learners.pixels import Begin, PixelLearner, Preparation
from lehr.learn.losses.by_activation import Loss, activated, loss_of
from lehr.learn.losses.multi_label import prior_logits
from lehr.learn.metrics.classification import quick_metrics
from lehr.learn.nets.catalogue import build
from lehr.learn.nets.head import StandardisedHead
from lehr.learn.preprocessing import CENTER, with_mirrors
from lehr.learn.recipe import BeginLearning, Recipe

_SOLVER_ITERATIONS = 200
_SOLVER_L2 = 1e-3
_SOLVER_TOLERANCE = 1e-5
"""Of the loss: a step that gains less is the last."""


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

    def take_over(self, tensors: Mapping[str, torch.Tensor], rows: Sequence[int | None]) -> None:
        """As Learner.take_over; the base has its weights already, from the same model."""
        head: nn.Linear = self.base_and_head.head  # type: ignore[assignment]
        earlier = {key.removeprefix("head."): value for key, value in tensors.items() if key.startswith("head.")}
        head.load_state_dict(merged_rows(earlier, head.state_dict(), rows))
        self.net.read_from(head)

    def begin_at_priors(self) -> None:
        """The head's first weights: every concept as probable as it is frequent."""
        problem = self.recipe.problem
        if self.recipe.activation == "sigmoid":
            with torch.no_grad():
                self.net.linear.bias.copy_(prior_logits(problem.positives, problem.num_items))

    def solve(self, penalty: float = _SOLVER_L2, iterations: int = _SOLVER_ITERATIONS) -> None:
        """Sets the head to the minimum of the regularised loss on all training items (L-BFGS, deterministic).

        `penalty` is that of the squared weights on standardised features.
        """
        with torch.no_grad():
            features_ND = self.net.standardised(self._of_items(self.data.train_indices))
        targets_NK = self.targets_NK[torch.from_numpy(self.data.train_indices)]
        weight = self.net.linear.weight
        solver = torch.optim.LBFGS(
            self.net.parameters(),
            max_iter=iterations,
            tolerance_change=_SOLVER_TOLERANCE,
            history_size=20,
            line_search_fn="strong_wolfe",
        )

        def objective() -> torch.Tensor:
            solver.zero_grad()
            total = self.loss_of_logits(self.net.linear(features_ND), targets_NK) + penalty * weight.square().sum()
            total.backward()
            return total

        with exact_products():
            solver.step(objective)

    def _of_items(self, indices: np.ndarray) -> torch.Tensor:
        """[n, D] of the original view of the given items."""
        return self.features_VND[0, torch.from_numpy(self.data.rows_N[indices])]


def feature_learning(weights: BaseWeights) -> BeginLearning:
    """The `begin` of a recipe whose base keeps the given weights."""

    def begin(recipe: Recipe, data: Data, is_fresh: bool) -> Generator[Preparing | Noted, None, FeatureLearner]:
        net = build(recipe.net.name, recipe.net.arguments)
        weights.fill(net.base)  # type: ignore[arg-type]
        learner = yield from learner_on(net, weights.sha256, recipe, data)
        if is_fresh:
            learner.begin_at_priors()
        return learner

    return begin


def probed(weights: BaseWeights) -> Begin:
    """Pretrained base, and the head that is best on its features: fine-tuning starts from there (arXiv 2202.10054)."""

    def begin(net: nn.Module, learner: PixelLearner) -> Preparation:
        weights.fill(net.base)  # type: ignore[arg-type]
        probe = yield from learner_on(net, weights.sha256, learner.recipe, learner.data)
        probe.begin_at_priors()
        probe.solve()
        probe.whole()
        figures = probe.judge() if learner.data.num_held_out else {}
        if "accuracy" in figures:
            yield Noted(
                text=f"Before fine-tuning, the head alone reaches accuracy {figures['accuracy']:.3f} on held-out items."
            )

    return begin


def learner_on(
    net: nn.Module, weights_sha256: str, recipe: Recipe, data: Data
) -> Generator[Preparing | Noted, None, FeatureLearner]:
    """Features of `net.base`, from the cache or computed, and a fresh head on them."""
    net = recipe.problem.device.place(net)
    features_VND = yield from features_of(net.base, weights_sha256, recipe, data)  # type: ignore[arg-type]
    return FeatureLearner(net, features_VND, recipe, data)


def features_of(
    base: nn.Module, weights_sha256: str, recipe: Recipe, data: Data
) -> Generator[Preparing | Noted, None, torch.Tensor]:
    """float16 [V, N, D]: of every picture of the pack as it is and, where mirroring is on, of its mirror image."""
    is_mirrored = any(view.is_mirrored for view in recipe.preprocessing.views)
    features = []
    for view in with_mirrors(CENTER) if is_mirrored else CENTER:
        features.append(
            (
                yield from cached_features(
                    base, weights_sha256, data.pack, recipe.preprocessing, view, recipe.problem.device
                )
            )
        )
    return torch.stack(features)
