"""What a trained detector finds in the held-out items, seen exactly as a prediction would see them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lehr.learn.checkpoint import State
from lehr.learn.data.dataset import Data
from lehr.learn.detection.pictures import canvas, framed
from lehr.learn.detection.retinanet import RetinaNet
from lehr.learn.detection.torch_detector import TorchDetector
from lehr.learn.loop import trained_net
from lehr.learn.metrics.detection import DetectorEvaluation, Measured, detector_evaluation
from lehr.learn.metrics.mean_average_precision import ImageBoxes
from lehr.learn.recipe import Recipe


def evaluate_detector(
    recipe: Recipe, data: Data, state: State, on_progress: Callable[[int, int], None]
) -> DetectorEvaluation:
    """All figures on the held-out items, of which there is at least one; boxes scored above 0.05 count."""
    net = trained_net(recipe, data, state)
    assert isinstance(net, RetinaNet), "a detector's recipe trains a RetinaNet"
    recipe.problem.device.prepare(are_shapes_fixed=False)
    find = TorchDetector(net, recipe.preprocessing, recipe.problem.device)
    measured = []
    for index in data.held_indices:
        measured.append(_measured(find, recipe, data, int(index)))
        on_progress(len(measured), data.num_held_out)
    return detector_evaluation(data.order.concepts, measured)


def _measured(find: TorchDetector, recipe: Recipe, data: Data, index: int) -> Measured:
    """Boxes in pixels of the picture as it was sent; as it was framed, where its pack does not know that size."""
    picture = framed(data.pack.pixels(int(data.rows_N[index])), recipe.preprocessing.image_size)
    frame = (picture.shape[0], picture.shape[1])
    (found,) = find(canvas([picture]), [frame])
    size, mine = data.native_sizes[index] or frame, data.boxes_N[index]
    truth = ImageBoxes(boxes=mine.pixels(*size).astype(np.float64), classes=mine.classes)
    return Measured(item_id=data.items[index].id, size=size, truth=truth, found=_resized(found, frame, size))


def _resized(found: ImageBoxes, frame: tuple[int, int], size: tuple[int, int]) -> ImageBoxes:
    """Boxes found in a picture of one height and width, in pixels of another; overlaps stay what they are."""
    scale = np.array([size[1] / frame[1], size[0] / frame[0]] * 2)
    return replace(found, boxes=found.boxes * scale)
