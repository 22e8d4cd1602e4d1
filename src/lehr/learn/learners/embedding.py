"""Trains embedders: as classifiers whose last layer is dropped, or by angles; judged by what they find.

Shapes: B batch, N items, S crop side, D embedding, F features, K concepts, V views.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lehr.learn.base_weights import BaseWeights
from lehr.learn.continuation import with_rows_of
from lehr.learn.data.crops import View
from lehr.learn.data.dataset import Data
from lehr.learn.data.sampler import epoch_batches
from lehr.learn.embedding_evaluating import classes, found, unseen_items
from lehr.learn.events import Noted, Preparing
from lehr.learn.learners.features import Features, features_of
from lehr.learn.learners.pixels import Begin, Drawn, PixelLearner, Preparation
from lehr.learn.losses.arcface import warm_up
from lehr.learn.losses.single_label import single_label_loss
from lehr.learn.nets.angular_embedder import AngularEmbedder
from lehr.learn.nets.catalogue import build
from lehr.learn.recipe import BeginLearning, Recipe


class EmbeddingLearner(PixelLearner):
    """An `Embedder` that learns to classify."""

    def loss_of_crops(self, x_BCSS: Tensor, targets_BK: Tensor) -> Tensor:
        """Mean loss of the last layer, which the finished embedder will not use."""
        with self.device.autocast():
            logits_BK = self.net.logits(x_BCSS)  # type: ignore[operator]
        return self.loss_of_logits(logits_BK, targets_BK)

    def judge(self) -> Mapping[str, float]:
        """What held-out pictures find among each other: recall_at_1, map_at_r."""
        self.settle()
        return judged(self.data, self.logits(self.net, self.data.held_indices, View()))


class AngularLearner(EmbeddingLearner):
    """An `AngularEmbedder`: softmax over angles, with a margin that grows over the first part of the training."""

    margin: Margin | None = None

    def loss_of_crops(self, x_BCSS: Tensor, targets_BK: Tensor) -> Tensor:
        """Mean cross-entropy of the logits with the margin."""
        self.margin = self.margin or Margin.of(self.net, self.recipe)  # type: ignore[arg-type]
        with self.device.autocast():
            logits_BK = self.net.logits(x_BCSS, targets_BK.argmax(1), self.margin.next_share())  # type: ignore[operator]
        return single_label_loss(logits_BK, targets_BK)


class AngularFeatureLearner:
    """What follows the base of an `AngularEmbedder`, on features that were computed once."""

    margin: Margin | None = None

    def __init__(self, net: AngularEmbedder, features: Features, recipe: Recipe, data: Data) -> None:
        self.features, self.recipe, self.data = features, recipe, data
        self.base, self.net = net.base, net
        net.base = nn.Identity()  # type: ignore[assignment]

    def draw(self, indices: np.ndarray, generator: np.random.Generator) -> Drawn:
        """Features of training items, float16 [B, F], and their targets; a lone item twice, for the norm's sake."""
        chosen_B = self.data.train_indices[np.repeat(indices, 2) if len(indices) == 1 else indices]
        return self.features.draw(chosen_B, generator)

    def loss(self, drawn: Drawn) -> Tensor:
        """As Learner.loss."""
        features_BF, targets_BK = drawn
        self.margin = self.margin or Margin.of(self.net, self.recipe)
        logits_BK = self.net.logits(features_BF.float(), targets_BK.argmax(1), self.margin.next_share())
        return single_label_loss(logits_BK, targets_BK)

    def judge(self) -> Mapping[str, float]:
        """As EmbeddingLearner.judge."""
        self.net.eval()
        with torch.inference_mode():
            return judged(self.data, self.net(self.features.of_items(self.data.held_indices).float()))

    def whole(self) -> nn.Module:
        """As Learner.whole: with the base again."""
        self.net.base = self.base
        return self.net

    def take_over(self, tensors: Mapping[str, Tensor], rows: Sequence[int | None]) -> None:
        """As Learner.take_over; the base has its weights already, from the same model."""
        self.net.load_state_dict(with_rows_of(tensors, self.net.state_dict(), rows))


def angular_feature_learning(weights: BaseWeights, flip_probability: float) -> BeginLearning:
    """The `begin` of a recipe that learns by angles on a base that keeps the given weights; mirrored: so many."""

    def begin(recipe: Recipe, data: Data, is_fresh: bool) -> Generator[Preparing | Noted, None, AngularFeatureLearner]:
        torch.manual_seed(recipe.seed)
        net = build(recipe.net.name, recipe.net.arguments)
        assert isinstance(net, AngularEmbedder), f"{recipe.net.name} does not learn by angles"
        weights.fill(net.base)
        net = recipe.problem.device.place(net)
        features = yield from features_of(net.base, weights, recipe, data, flip_probability)
        return AngularFeatureLearner(net, features, recipe, data)

    return begin


def filled(weights: BaseWeights) -> Begin:
    """Pretrained (or random) base, everything after it random."""

    def begin(net: nn.Module, learner: PixelLearner) -> Preparation:
        weights.fill(net.base)  # type: ignore[arg-type]
        yield from ()

    return begin


@dataclass(kw_only=True)
class Margin:
    """How much of the angular margin counts: it grows with the steps."""

    step: int
    num_steps: int

    @classmethod
    def of(cls, net: AngularEmbedder, recipe: Recipe) -> Margin:
        """Where the network is: its last norm has counted the steps, and a checkpoint keeps that. Asked once, for a GPU
        answers when it has done all that it was given."""
        num_steps = len(epoch_batches(recipe.items_per_epoch, recipe.batch_size)) * recipe.num_epochs
        return cls(step=int(net.norm.num_batches_tracked or 0), num_steps=num_steps)

    def next_share(self) -> float:
        """Of this step, 0 to 1; the next call is of the next."""
        self.step += 1
        return warm_up(self.step - 1, self.num_steps)


def judged(data: Data, embeddings_ND: Tensor) -> dict[str, float]:
    """Two figures of the embeddings of the held-out items: of known concepts, where there are none of unseen ones."""
    labels_N = classes(data.targets_NK[data.held_indices])
    is_unseen_N = unseen_items(data)[data.held_indices]
    vectors_ND = embeddings_ND.float().cpu().numpy()
    parts = (found(vectors_ND[part], labels_N[part]) for part in (~is_unseen_N, is_unseen_N))
    figures = next((part for part in parts if part), None)
    return {"recall_at_1": figures.recall_at_1, "map_at_r": figures.map_at_r} if figures else {}
