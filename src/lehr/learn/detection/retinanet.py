"""RetinaNet (Lin et al., arXiv 1708.02002) on any backbone: feature pyramid and two heads, from images to raw outputs.

What the outputs mean for training is in objective.py, for prediction in postprocess.py.
Shapes: N images, C channels, H and W cells, A anchors per cell, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from lehr.learn.detection.anchors import Anchors
from lehr.learn.detection.regressors import BoxRegressors, SparseOffsets, small_convolution
from lehr.learn.nets.backbone import Backbone

PRIOR = 0.01
"""Probability that an untrained head gives every class: else the many background anchors drown the first steps."""


@dataclass(frozen=True, kw_only=True)
class DetectorShape:
    """What a detector looks like behind its backbone.

    The standard head (256 channels, four layers) is 60 to 75 % of the work with a light backbone; 128 and two are the
    lite one. `group_norm` steadies heads that start together with a random backbone.
    """

    num_classes: int
    anchors: Anchors = field(default_factory=Anchors)
    use_perclass_regression: bool = False
    channels: int = 256
    depth: int = 4
    group_norm: bool = False


class RawDetections(NamedTuple):
    """Per level, fine to coarse: class logits [N, H * W * A, K], and the map [N, C, H, W] that boxes come from."""

    logits: list[Tensor]
    towers: list[Tensor]


class RetinaNet(nn.Module):
    """Backbone, feature pyramid P3 to P7, classification head, regression head.

    Images are float [N, 3, height, width], normalised; best padded to a multiple of 32. The backbone must keep its maps
    registered with the image (`same_padding`).
    """

    def __init__(self, backbone: Backbone, shape: DetectorShape) -> None:
        super().__init__()
        self.shape = shape
        self.base = backbone
        width, per_cell = shape.channels, shape.anchors.per_cell
        self.pyramid = FeaturePyramidNetwork(list(backbone.map_channels), width, LastLevelP6P7(width, width))
        self.class_tower = _tower(shape)
        self.class_logits = small_convolution(width, per_cell * shape.num_classes, -math.log((1 - PRIOR) / PRIOR))
        self.box_tower = _tower(shape)
        self.regressors = BoxRegressors(width, per_cell, shape.num_classes if shape.use_perclass_regression else 1)

    def forward(self, images_NCHW: Tensor) -> RawDetections:
        """Raw outputs of every level; boxes are not computed yet (see `offsets`)."""
        levels = self._levels(images_NCHW)
        return RawDetections([self._logits(level) for level in levels], [self.box_tower(level) for level in levels])

    def offsets(self, raw: RawDetections) -> SparseOffsets:
        """Box offsets, computed where they are asked for."""
        return SparseOffsets(self.regressors, raw.towers)

    def anchors(self, images_NCHW: Tensor) -> list[Tensor]:
        """Anchors [H * W * A, 4] of every level for images of this size, on their device."""
        height, width = images_NCHW.shape[-2:]
        return self.shape.anchors.levels(height, width, images_NCHW.device)

    def head_parameters(self) -> Iterable[nn.Parameter]:
        """Everything that is not the backbone's."""
        inside = {id(parameter) for parameter in self.base.parameters()}
        return (parameter for parameter in self.parameters() if id(parameter) not in inside)

    def _levels(self, images_NCHW: Tensor) -> list[Tensor]:
        maps = self.base.maps(images_NCHW)
        return list(self.pyramid(dict(zip(("p3", "p4", "p5"), maps, strict=True))).values())

    def _logits(self, level_NCHW: Tensor) -> Tensor:
        out = self.class_logits(self.class_tower(level_NCHW)).permute(0, 2, 3, 1)
        return out.reshape(out.shape[0], -1, self.shape.num_classes)


class DenseRetinaNet(nn.Module):
    """The convolutional part with plain tensors in and out, for export to ONNX.

    Gives logits [N, all anchors, K] and offsets [N, all anchors, S, 4] with S sets, levels one after another; split
    them with `split_levels`, and post-process them with `DenseOffsets`.
    """

    def __init__(self, net: RetinaNet) -> None:
        super().__init__()
        self.net = net
        self.training = net.training  # exporters set a wrapper's mode back afterwards, and with it the network's

    def forward(self, images_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and offsets of all anchors."""
        raw = self.net(images_NCHW)
        return torch.cat(raw.logits, 1), torch.cat([self.net.regressors.dense(tower) for tower in raw.towers], 1)


def split_levels(outputs: Tensor, anchors: Sequence[Tensor]) -> list[Tensor]:
    """Cut [N, all anchors, ...] into the levels that `anchors` has."""
    return list(outputs.split([len(level) for level in anchors], 1))


def _tower(shape: DetectorShape) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(shape.depth):
        norm = [nn.GroupNorm(32, shape.channels)] if shape.group_norm else []
        layers += [small_convolution(shape.channels, shape.channels), *norm, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
