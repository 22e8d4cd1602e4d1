"""Answers with a trained detector from its folder. On a CPU through OpenVINO and numpy, without importing torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lehr.learn.detection.anchors import Anchors, anchors_of
from lehr.learn.detection.found import rows_of
from lehr.learn.detection.framing import batch_frame
from lehr.learn.detection.openvino_detector import OpenvinoDetector
from lehr.learn.detection.pictures import canvas, framed
from lehr.learn.metrics.mean_average_precision import ImageBoxes

if TYPE_CHECKING:
    from lehr.learn.bundle import Bundle

CHUNK = 4
"""Pictures in one call of the network: they are large, and more at once gain nothing on a CPU."""

Find = Callable[[np.ndarray, Sequence[tuple[int, int]]], list[ImageBoxes]]
"""(uint8 [N, H, W, 3], sizes without padding) -> boxes of each picture in pixels."""


@dataclass(frozen=True, kw_only=True)
class DetectionPredictor:
    """A loaded detector. Safe to call from several threads; the caller batches."""

    bundle: Bundle
    find: Find
    form: str
    """"openvino bf16", "openvino f32", "torch cpu f32", "torch cuda:0 bf16", …"""
    chunk: int = CHUNK
    give_back: Callable[[], None] = lambda: None
    """Lets other processes have the memory of the device that is kept here without being used."""

    @property
    def image_size(self) -> int:
        """Decode pictures so that their shorter side is this."""
        return self.bundle.preprocessing.image_size

    @property
    def concepts(self) -> tuple[str, ...]:
        """Ids, in the order of the classes."""
        return self.bundle.concepts

    @property
    def output(self) -> str:
        """ "detections"."""
        return self.bundle.output

    def predict(self, pixels: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 [100, 6] per picture, in order, see found.py. `pixels`: uint8 [H, W, 3] each, of any size."""
        pictures = [framed(picture, self.image_size) for picture in pixels]
        found: dict[int, np.ndarray] = {}
        for places in _alike(pictures, self.chunk):
            mine = [pictures[place] for place in places]
            sizes = [(picture.shape[0], picture.shape[1]) for picture in mine]
            boxes = self.find(canvas(mine), sizes)
            found |= {place: rows_of(one, size) for place, one, size in zip(places, boxes, sizes, strict=True)}
        return [found[place] for place in range(len(pictures))]


def load_detector(bundle: Bundle, precision: str, threads: int | None = None) -> DetectionPredictor:
    """Opens a detector's folder that has an OpenVINO form, to compute on the CPU in "bf16" or "f32"."""
    served = OpenvinoDetector(bundle.folder, anchors_in(bundle.details["net"]["arguments"]), precision, threads)
    return DetectionPredictor(bundle=bundle, find=served, form=f"openvino {precision}")


def anchors_in(arguments: Mapping[str, Any]) -> Anchors:
    """The anchors of a detector built with these arguments."""
    return anchors_of(arguments.get("anchor_ratios", Anchors().ratios), arguments.get("anchor_scale", 1.0))


def _alike(pictures: Sequence[np.ndarray], most: int) -> Iterator[list[int]]:
    """Places of pictures that share a frame, at most `most` together: none pays for another's padding."""
    groups: dict[tuple[int, int], list[int]] = {}
    for place, picture in enumerate(pictures):
        groups.setdefault(batch_frame([(picture.shape[0], picture.shape[1])]), []).append(place)
    for places in groups.values():
        for start in range(0, len(places), most):
            yield places[start : start + most]
