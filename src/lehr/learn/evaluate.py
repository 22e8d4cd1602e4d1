"""What a trained network makes of the held-out items, seen exactly as a prediction would see them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lehr.errors import NoTrainingData
from lehr.learn.checkpoint import State
from lehr.learn.data.dataset import Data
from lehr.learn.embedding_evaluating import embedding_evaluation
from lehr.learn.loop import trained_net
from lehr.learn.metrics.classification import Evaluation, evaluation
from lehr.learn.metrics.detection import DetectorEvaluation
from lehr.learn.metrics.embedding import EmbeddingEvaluation
from lehr.learn.recipe import Recipe
from lehr.learn.serving_net import ServingNet, run
from lehr.learn.views import averaged, unit

_BATCH = 32
_SQUARES = 4 * _BATCH
"""At most in one call of the network: both ends of each picture and of its mirror image."""


def evaluate(
    recipe: Recipe, data: Data, state: State, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Evaluation | DetectorEvaluation | EmbeddingEvaluation:
    """All figures on the held-out items, a detector's of boxes. Raises NoTrainingData when there are none."""
    if not data.num_held_out:
        raise NoTrainingData("There are no held-out items to evaluate on: mark some as test items, or add more items.")
    if recipe.output == "detections":
        from lehr.learn.detection.evaluating import evaluate_detector

        return evaluate_detector(recipe, data, state, on_progress)
    net = ServingNet(trained_net(recipe, data, state), recipe.preprocessing, recipe.served_activation)
    device, at_once = recipe.problem.device, recipe.preprocessing.at_once(_SQUARES)
    device.prepare(are_shapes_fixed=not recipe.preprocessing.are_whole)
    net.to(device.name)
    found: list[np.ndarray] = []
    for start in range(0, data.num_held_out, _BATCH):
        rows = data.rows_N[data.held_indices[start : start + _BATCH]]
        pictures = [recipe.preprocessing.crops(data.pack.pixels(row)) for row in rows]
        found += averaged(lambda crops: run(net, crops, device), pictures, at_once)
        on_progress(len(found), data.num_held_out)
    if recipe.output == "embedding":
        return embedding_evaluation(data, np.stack(unit(found)))
    return evaluation(data.order.concepts, data.held_out_ids, np.stack(found), data.targets_NK[data.held_indices])
