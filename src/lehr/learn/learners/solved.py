"""Solves a head on an embedder's cached features instead of training it: convex, exact, and over in seconds."""

from __future__ import annotations

from collections.abc import Generator

from torch import nn

from lehr.learn.base_weights import BaseWeights
from lehr.learn.data.dataset import Data
from lehr.learn.events import Noted, Preparing
from lehr.learn.learners.features import FeatureLearner, learner_on
from lehr.learn.nets.catalogue import build
from lehr.learn.recipe import BeginLearning, Recipe

PENALTIES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
"""Of the squared weights on standardised features, the strongest first; each solution is where the next begins."""
UNJUDGED_PENALTY = 0.01
"""Where there are no held-out items to choose by."""
STAGE = "solving the head"
"""What `Preparing` events call this."""
_ITERATIONS = 40
_HOPELESS = 1.05
"""Times the smallest loss on the held-out items: from here on weaker penalties only fit the training items better."""


def solving(embedder: BaseWeights) -> BeginLearning:
    """The `begin` of a recipe whose head is solved: the loop that follows it only measures, at a step size of 0.

    The penalty is the one with the smallest loss on the held-out items.
    """

    def begin(recipe: Recipe, data: Data, is_fresh: bool) -> Generator[Preparing | Noted, None, FeatureLearner]:
        net = build(recipe.net.name, recipe.net.arguments)
        embedder.fill(_filled_part(net, embedder))
        learner = yield from learner_on(net, embedder, recipe, data)
        if is_fresh:
            learner.begin_at_priors()
            yield from solve_best(learner)
        return learner

    return begin


def solve_best(learner: FeatureLearner) -> Generator[Preparing | Noted, None, None]:
    """Leaves in the head the solution of the penalty that fits the held-out items best."""
    if not learner.data.num_held_out:
        learner.solve(UNJUDGED_PENALTY)
        return
    losses: dict[float, float] = {}
    best = learner.net.state_dict()
    for done, penalty in enumerate(PENALTIES):
        yield Preparing(stage=STAGE, done=done, total=len(PENALTIES))
        learner.solve(penalty, _ITERATIONS)
        losses[penalty] = learner.judge()["loss"]
        if losses[penalty] == min(losses.values()):
            best = {name: value.clone() for name, value in learner.net.state_dict().items()}
        elif losses[penalty] > _HOPELESS * min(losses.values()):
            break
    learner.net.load_state_dict(best)
    chosen = min(losses, key=losses.__getitem__)
    yield Noted(text=f"Of {len(losses)} penalties {chosen:g} fits the held-out items best: loss {losses[chosen]:.4f}.")


def _filled_part(net: nn.Module, embedder: BaseWeights) -> nn.Module:
    """The whole embedder where it was trained as one, its backbone where published weights fill that alone."""
    whole: nn.Module = net.base  # type: ignore[assignment]
    return whole if embedder.is_whole else whole.base  # type: ignore[return-value]
