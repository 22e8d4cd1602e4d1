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
from lehr.learn.data.upload import uploaded
from lehr.learn.device import Device, exact_products
from lehr.learn.events import Noted, Preparing
from lehr.learn.learners.pixels import Begin, Drawn, PixelLearner, Preparation
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


class Features:
    """What a base made of every picture of the pack, on the training device."""

    def __init__(self, features_VND: torch.Tensor, flip_probability: float, data: Data, device: Device) -> None:
        self.features_VND, self.flip_probability, self.data = features_VND.to(device.name), flip_probability, data

    def draw(self, chosen_B: np.ndarray, generator: np.random.Generator) -> Drawn:
        """Features float16 [B, D] of the given items, of their mirror images with `flip_probability`; their targets."""
        views_B = (generator.random(len(chosen_B)) < self.flip_probability).astype(np.int64)
        place = self.features_VND.device
        features_BD = self.features_VND[uploaded(views_B, place), uploaded(self.data.rows_N[chosen_B], place)]
        return features_BD, self.targets(chosen_B)

    def of_items(self, indices: np.ndarray) -> torch.Tensor:
        """float16 [n, D] of the given items as they are."""
        return self.features_VND[0, uploaded(self.data.rows_N[indices], self.features_VND.device)]

    def targets(self, indices: np.ndarray) -> torch.Tensor:
        """float32 [n, K] of the given items."""
        return uploaded(self.data.targets_NK[indices], self.features_VND.device)


class FeatureLearner:
    """The head alone, on features that were computed once: original and, where mirroring is on, mirror."""

    def __init__(self, base_and_head: nn.Module, features: Features, recipe: Recipe, data: Data) -> None:
        self.base_and_head, self.features, self.recipe, self.data = base_and_head, features, recipe, data
        place = recipe.problem.device.name
        self.net = StandardisedHead(features.of_items(data.train_indices), len(recipe.problem.concepts)).to(place)
        self.loss_of_logits: Loss = loss_of(recipe.activation)

    def draw(self, indices: np.ndarray, generator: np.random.Generator) -> Drawn:
        """Features of training items, float16 [B, D], and their targets, float32 [B, K]."""
        return self.features.draw(self.data.train_indices[indices], generator)

    def loss(self, drawn: Drawn) -> torch.Tensor:
        """As Learner.loss."""
        features_BD, targets_BK = drawn
        return self.loss_of_logits(self.net(features_BD), targets_BK)

    def judge(self) -> Mapping[str, float]:
        """As Learner.judge; the original view only."""
        self.net.eval()
        held_N = self.data.held_indices
        with torch.inference_mode():
            logits_NK = self.net(self.features.of_items(held_N))
            loss = float(self.loss_of_logits(logits_NK, self.features.targets(held_N)))
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
            features_ND = self.net.standardised(self.features.of_items(self.data.train_indices))
        targets_NK = self.features.targets(self.data.train_indices)
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


def feature_learning(weights: BaseWeights, flip_probability: float) -> BeginLearning:
    """The `begin` of a recipe whose base keeps the given weights, and whose pictures are mirrored so often."""

    def begin(recipe: Recipe, data: Data, is_fresh: bool) -> Generator[Preparing | Noted, None, FeatureLearner]:
        net = build(recipe.net.name, recipe.net.arguments)
        weights.fill(net.base)  # type: ignore[arg-type]
        learner = yield from learner_on(net, weights, recipe, data, flip_probability=flip_probability)
        if is_fresh:
            learner.begin_at_priors()
        return learner

    return begin


def probed(weights: BaseWeights) -> Begin:
    """Pretrained base, and the head that is best on its features: fine-tuning starts from there (arXiv 2202.10054)."""

    def begin(net: nn.Module, learner: PixelLearner) -> Preparation:
        weights.fill(net.base)  # type: ignore[arg-type]
        probe = yield from learner_on(net, weights, learner.recipe, learner.data)
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
    net: nn.Module, weights: BaseWeights, recipe: Recipe, data: Data, *, flip_probability: float = 0.0
) -> Generator[Preparing | Noted, None, FeatureLearner]:
    """Features of `net.base`, which has the given weights, from the cache or computed, and a fresh head on them."""
    net = recipe.problem.device.place(net)
    features = yield from features_of(net.base, weights, recipe, data, flip_probability)  # type: ignore[arg-type]
    return FeatureLearner(net, features, recipe, data)


def features_of(
    base: nn.Module, weights: BaseWeights, recipe: Recipe, data: Data, flip_probability: float
) -> Generator[Preparing | Noted, None, Features]:
    """Of every picture of the pack as it is and, where some are to be mirrored, of its mirror image."""
    device, views = recipe.problem.device, []
    for view in with_mirrors(CENTER) if flip_probability > 0 else CENTER:
        views.append((yield from cached_features(base, weights.sha256, data.pack, recipe.preprocessing, view, device)))
    return Features(torch.stack(views), flip_probability, data, device)
