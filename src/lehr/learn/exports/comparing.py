"""How far an exported model is from ours on real pictures: from the network in torch, and from what serves it on a CPU.

Legend: N pictures, K outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lehr.errors import Refused
from lehr.learn.bundle import TOLERANCE, Bundle
from lehr.learn.detection.found import boxes_in
from lehr.learn.metrics.mean_average_precision import box_iou

LEAST_OVERLAP = {"f32": 0.95, "bf16": 0.8}
"""Of a box and its counterpart, which must be of one class."""
LEAST_SHARE = {"f32": 0.98, "bf16": 0.9}
"""Of all boxes, those with a counterpart: two that overlap by just about the limit may suppress one another or not."""
PROBABLE = 0.1
"""Boxes of lower scores come and go with the last bit, and nobody is shown them."""


class ExportDisagrees(Refused):
    """The exported model does not compute what the trained one does."""

    code = 21502


class Answering(Protocol):
    """A loaded model of ours: `Predictor` or `DetectionPredictor`."""

    def predict(self, pixels: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One answer per picture."""
        ...


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Two models' answers to the same pictures."""

    is_close: bool
    figures: Mapping[str, Any]
    """What was measured, and what was allowed; plain JSON."""


def agreement(bundle: Bundle, found: Sequence[np.ndarray], expected: Sequence[np.ndarray], precision: str) -> Agreement:
    """Compares the answers of two models, in the order of the pictures; `precision` is that of the less exact one."""
    if bundle.output == "detections":
        return _of_boxes(found, [boxes_in(rows) for rows in expected], precision)
    return _of_vectors(np.stack(found), np.stack(expected), TOLERANCE[precision])


def exact_predictor(bundle: Bundle) -> Answering:
    """The network as it was trained: torch on the processor, in float32, from model.safetensors."""
    from lehr.learn.device import Device
    from lehr.learn.torch_predictor import on_device

    return on_device(bundle, Device(name="cpu", is_bf16=False, threads=1))


def _of_vectors(found_NK: np.ndarray, expected_NK: np.ndarray, allowed: float) -> Agreement:
    wrong_NK = found_NK - expected_NK
    largest = float(np.abs(wrong_NK).max()) if np.isfinite(found_NK).all() else 1e9
    return Agreement(is_close=largest <= allowed, figures={"largest": largest, "allowed": allowed})


def _of_boxes(found: Sequence[np.ndarray], expected: Sequence[np.ndarray], precision: str) -> Agreement:
    """Every probable box of either must have its counterpart in the other, of nearly the same place and score."""
    both_ways = [
        pair
        for ours, theirs in zip(expected, found, strict=True)
        for pair in (*_counterparts(ours, theirs), *_counterparts(theirs, ours))
    ]
    overlaps, apart = np.array(both_ways).reshape(-1, 2).T
    has_counterpart = overlaps >= LEAST_OVERLAP[precision]
    share = float(has_counterpart.mean()) if len(overlaps) else 1.0
    largest = float(apart[has_counterpart].max(initial=0.0))
    figures = {
        "boxes": sum(int((rows[:, 4] > PROBABLE).sum()) for rows in expected),
        "share_with_counterpart": share,
        "allowed_share": LEAST_SHARE[precision],
        "counterpart_overlap": LEAST_OVERLAP[precision],
        "largest": largest,
        "allowed": TOLERANCE[precision],
    }
    return Agreement(is_close=share >= LEAST_SHARE[precision] and largest <= TOLERANCE[precision], figures=figures)


def _counterparts(ones: np.ndarray, others: np.ndarray) -> list[tuple[float, float]]:
    """Of every probable box, the overlap with the nearest other of its class, and how far their scores are apart."""
    pairs = []
    for row in ones[ones[:, 4] > PROBABLE]:
        alike = others[others[:, 5] == row[5]]
        overlaps = box_iou(row[None, :4], alike[:, :4])[0]
        best = int(overlaps.argmax()) if len(alike) else -1
        pairs.append((float(overlaps[best]), abs(float(alike[best, 4] - row[4]))) if len(alike) else (0.0, 1.0))
    return pairs
