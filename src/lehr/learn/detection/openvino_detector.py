"""A detector's convolutional part as OpenVINO runs it on a CPU, for pictures of any size. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lehr.learn.detection.anchors import Anchors
from lehr.learn.detection.selection import EVALUATED, RawOutputs, select_boxes
from lehr.learn.metrics.mean_average_precision import ImageBoxes
from lehr.learn.openvino_form import OpenvinoNet


class OpenvinoDetector:
    """uint8 [N, H, W, 3], H and W multiples of 32, to boxes."""

    def __init__(self, folder: Path, anchors: Anchors, precision: str, threads: int | None = None) -> None:
        self.anchors = anchors
        self._net = OpenvinoNet(folder, precision, threads)

    def __call__(self, pixels_NHW3: np.ndarray, sizes: Sequence[tuple[int, int]]) -> list[ImageBoxes]:
        """The boxes of each picture, in its own pixels; `sizes` are heights and widths without the padding."""
        levels = self.anchors.arrays(*pixels_NHW3.shape[1:3])
        raw = self.raw(pixels_NHW3)
        return [select_boxes(one, levels, size, EVALUATED) for one, size in zip(raw, sizes, strict=True)]

    def raw(self, pixels_NHW3: np.ndarray) -> list[RawOutputs]:
        """What the network says of each picture. Thread-safe."""
        logits_NAK, offsets_NAS4 = self._net.outputs(pixels_NHW3)
        return [
            RawOutputs(logits=logits, offsets=offsets) for logits, offsets in zip(logits_NAK, offsets_NAS4, strict=True)
        ]
