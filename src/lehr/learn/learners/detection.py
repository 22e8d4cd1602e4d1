"""Trains a detector on whole packed pictures and their boxes.

Shapes: B batch, H and W canvas, K classes. Boxes are pixels x1 y1 x2 y2 of the framed picture.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lehr.errors import InvalidParams
from lehr.learn.advance import made_together
from lehr.learn.base_weights import BaseWeights
from lehr.learn.data.dataset import Data
from lehr.learn.data.normalise import normalised
from lehr.learn.data.upload import uploaded
from lehr.learn.detection.boxes import mirror
from lehr.learn.detection.framing import batch_frame, framed_size
from lehr.learn.detection.objective import Assignment, DetectionObjective, TrueBoxes, assign
from lehr.learn.detection.pictures import canvas, framed
from lehr.learn.detection.postprocess import select
from lehr.learn.detection.retinanet import RawDetections, RetinaNet
from lehr.learn.device import Device
from lehr.learn.events import Noted, Preparing
from lehr.learn.learners.norms import begin_settling, measure_afresh, settle_norms
from lehr.learn.memory import save_memory
from lehr.learn.metrics.mean_average_precision import ImageBoxes, detection_evaluation
from lehr.learn.nets.backbone import freeze_batchnorm
from lehr.learn.nets.catalogue import build
from lehr.learn.recipe import BeginLearning, Recipe

_JUDGED_BATCH = 8
_SETTLING_ITEMS = 128


@dataclass(frozen=True, kw_only=True)
class DetectorTraining:
    """What a detector's training adds to its recipe."""

    flip_probability: float = 0.0
    """Probability that a picture and its boxes are mirrored."""
    use_focal_loss: bool = True
    """Else the hardest negatives are mined."""
    is_base_frozen: bool = False
    """The base's weights do not change at all."""
    gradient_checkpointing: str = "auto"
    """"on": the base's activations are computed again in the backward pass: less memory, a third more time. "auto":
    where they would take most of the memory."""


class Batch(NamedTuple):
    """Pictures in one canvas: float [B, 3, H, W] normalised, on the device; each one's height and width, and its boxes
    on the processor; what the anchors are to say, on the device."""

    images: torch.Tensor
    sizes: list[tuple[int, int]]
    truth: list[TrueBoxes]
    wanted: Assignment


class TrainedDetector(nn.Module):
    """A detector and its objective, whose running average of positives is state like any weight."""

    def __init__(self, detector: RetinaNet, objective: DetectionObjective) -> None:
        super().__init__()
        self.detector, self.objective = detector, objective

    def forward(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch, a scalar."""
        return self.loss(self.detector(batch.images), batch)

    def loss(self, raw: RawDetections, batch: Batch) -> torch.Tensor:
        """The loss of what the detector said of a batch: classes and boxes together, in float32."""
        offsets, anchors = self.detector.offsets(raw), self.detector.anchors(batch.images)
        return sum(self.objective(raw.logits, offsets, anchors, batch.wanted))


class DetectionLearner:
    """The whole detector, on pictures mirrored afresh at every step."""

    def __init__(self, net: TrainedDetector, recipe: Recipe, data: Data, flip_probability: float) -> None:
        self.net, self.recipe, self.data = net, recipe, data
        self.flip_probability = flip_probability
        self.device: Device = recipe.problem.device
        self.frame = self.largest_frame() if self.device.is_cuda else None
        """Height and width of every batch's canvas; None: as small as its pictures allow. A GPU looks for the fastest
        convolutions once per shape, so there it is fixed."""
        self.norms: list[_BatchNorm] = []
        """Of a random base, whose running statistics are to settle quickly: see norms.py."""

    def draw(self, indices: np.ndarray, generator: np.random.Generator) -> Batch:
        """As Learner.draw. A lone picture is seen twice: live norms need two values of everything."""
        if self.norms and len(indices) == 1:
            indices = np.repeat(indices, 2)
        is_mirrored_B = generator.random(len(indices)) < self.flip_probability
        return self.batch(self.data.train_indices[indices], is_mirrored_B)

    def loss(self, drawn: Batch) -> torch.Tensor:
        """As Learner.loss."""
        settle_norms(self.norms)
        with self.device.autocast():
            return self.net(drawn)

    def judge(self) -> Mapping[str, float]:
        """As Learner.judge: the loss, and mean average precision at overlap 0.5 and over 0.50 to 0.95."""
        self.settle()
        self.net.eval()
        held_N, losses = self.data.held_indices, []
        found: list[ImageBoxes] = []
        truth: list[ImageBoxes] = []
        with torch.inference_mode():
            for batch in self._batches(held_N):
                with self.device.autocast():
                    raw = self.net.detector(batch.images)
                    losses.append(self.net.loss(raw, batch).item() * len(batch.truth))
                found += detections(self.net.detector, raw, batch)
                truth += [image_boxes(boxes) for boxes in batch.truth]
        figures = detection_evaluation(found, truth, len(self.recipe.problem.concepts))
        named = {"loss": sum(losses) / len(held_N), "map_50": figures.map_50, "map_range": figures.map_range}
        return {name: value for name, value in named.items() if value is not None}

    def settle(self) -> None:
        """Measures the statistics of a random base's norms afresh. Does nothing to a pretrained base."""
        if not self.norms:
            return
        count = min(self.data.num_train, _SETTLING_ITEMS)
        chosen = np.resize(self.data.train_indices, -(-count // _JUDGED_BATCH) * _JUDGED_BATCH)
        with self.device.autocast():
            measure_afresh(self.net.detector.base, (batch.images for batch in self._batches(chosen)))

    def whole(self) -> nn.Module:
        """The detector alone."""
        return self.net.detector

    def take_over(self, tensors: Mapping[str, torch.Tensor], rows: Sequence[int | None]) -> None:
        """As Learner.take_over."""
        self.net.detector.load_state_dict(with_concepts_of(tensors, self.net.detector, rows))

    def batch(self, indices: np.ndarray, is_mirrored_B: Sequence[bool] | np.ndarray) -> Batch:
        """The given items (of all items, not only the training ones) as the network takes them."""
        size = self.recipe.preprocessing.image_size
        pictures = made_together(lambda row: framed(self.data.pack.pixels(row), size), self.data.rows_N[indices])
        seen = [picture[:, ::-1] if flip else picture for picture, flip in zip(pictures, is_mirrored_B, strict=True)]
        together = canvas(seen, self.frame)
        pixels_BHW3 = uploaded(together, self.device.name)
        sizes = [(picture.shape[0], picture.shape[1]) for picture in pictures]
        truth = [
            self._truth(index, shape, bool(flip))
            for index, shape, flip in zip(indices, sizes, is_mirrored_B, strict=True)
        ]
        anchors = self.net.detector.shape.anchors.levels(together.shape[1], together.shape[2])
        wanted = assign(anchors, truth).on(self.device.name)
        return Batch(normalised(pixels_BHW3.permute(0, 3, 1, 2), self.recipe.preprocessing), sizes, truth, wanted)

    def _truth(self, index: int, size: tuple[int, int], is_mirrored: bool) -> TrueBoxes:
        mine = self.data.boxes_N[index]
        boxes = torch.from_numpy(mine.pixels(*size))
        boxes = mirror(boxes, size[1]) if is_mirrored else boxes
        return TrueBoxes(boxes, torch.from_numpy(mine.classes))

    def _batches(self, indices: np.ndarray) -> Iterator[Batch]:
        for start in range(0, len(indices), _JUDGED_BATCH):
            chosen = indices[start : start + _JUDGED_BATCH]
            yield self.batch(chosen, np.zeros(len(chosen), bool))

    def largest_frame(self) -> tuple[int, int]:
        """Height and width of a canvas that holds each of the pictures."""
        size = self.recipe.preprocessing.image_size
        records = [self.data.pack.records[row] for row in self.data.rows_N]
        return batch_frame([framed_size(record.height, record.width, size) for record in records])


def detections(detector: RetinaNet, raw: RawDetections, batch: Batch) -> list[ImageBoxes]:
    """The boxes found in each picture, by the rules of evaluation (scores above 0.05), as numpy arrays."""
    found = select(raw.logits, detector.offsets(raw), detector.anchors(batch.images), batch.sizes)
    return [
        ImageBoxes(
            boxes=one.boxes.float().cpu().numpy(),
            classes=one.classes.cpu().numpy(),
            scores=one.scores.float().cpu().numpy(),
        )
        for one in found
    ]


def image_boxes(truth: TrueBoxes) -> ImageBoxes:
    """Drawn boxes as numpy arrays."""
    return ImageBoxes(boxes=truth.boxes.cpu().numpy(), classes=truth.classes.cpu().numpy())


def with_concepts_of(
    earlier: Mapping[str, torch.Tensor], detector: RetinaNet, rows: Sequence[int | None]
) -> dict[str, torch.Tensor]:
    """A detector's tensors: the earlier ones, and of every anchor's classes those that the earlier model knew.

    Raises InvalidParams where the two networks differ by more than their concepts.
    """
    own = detector.state_dict()
    wrong = [key for key, value in own.items() if not _fits(earlier.get(key), value, _counts_concepts(key, detector))]
    if wrong:
        raise InvalidParams(
            [
                f"The earlier version's network is not this one's: {len(wrong)} tensors have another size (first "
                f"{wrong[0]}). Give the hyperparameters that shape the network the same values as then."
            ]
        )
    return {
        key: _merged(earlier[key], value, detector, rows) if _counts_concepts(key, detector) else earlier[key]
        for key, value in own.items()
    }


def _fits(theirs: torch.Tensor | None, mine: torch.Tensor, is_of_concepts: bool) -> bool:
    return theirs is not None and theirs.shape[is_of_concepts:] == mine.shape[is_of_concepts:]


def _merged(theirs: torch.Tensor, mine: torch.Tensor, detector: RetinaNet, rows: Sequence[int | None]) -> torch.Tensor:
    """A layer of [anchors * concepts * n, ...] with the earlier model's filters for the concepts that it knew."""
    per_cell, num_classes = detector.shape.anchors.per_cell, detector.shape.num_classes
    merged = mine.reshape(per_cell, num_classes, -1, *mine.shape[1:]).clone()
    known = theirs.reshape(per_cell, -1, *merged.shape[2:])
    for number, row in enumerate(rows):
        if row is not None:
            merged[:, number] = known[:, row]
    return merged.reshape(mine.shape)


def _counts_concepts(key: str, detector: RetinaNet) -> bool:
    return key.startswith("class_logits.") or (detector.shape.use_perclass_regression and key.startswith("regressors."))


def detection_learning(weights: BaseWeights, training: DetectorTraining) -> BeginLearning:
    """The `begin` of a recipe that trains a detector.

    A pretrained base keeps its norms' statistics, which a few pictures would only spoil; a random one's are live.
    """

    def begin(recipe: Recipe, data: Data, is_fresh: bool) -> Generator[Preparing | Noted, None, DetectionLearner]:
        torch.manual_seed(recipe.seed)
        detector = build(recipe.net.name, recipe.net.arguments)
        assert isinstance(detector, RetinaNet), f"{recipe.net.name} is no detector"
        if is_fresh:
            weights.fill(detector.base)
        if weights.are_pretrained:
            freeze_batchnorm(detector)
        save_memory(detector, training.gradient_checkpointing, recipe)
        detector.base.requires_grad_(not training.is_base_frozen)
        net = TrainedDetector(detector, DetectionObjective(use_focal_loss=training.use_focal_loss))
        net = recipe.problem.device.place(net)
        learner = DetectionLearner(net, recipe, data, training.flip_probability)
        if not weights.are_pretrained:
            learner.norms = begin_settling(detector.base)
        yield from ()
        return learner

    return begin
