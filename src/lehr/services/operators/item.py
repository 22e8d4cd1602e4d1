"""What flows between the nodes of a workflow: data of one picture, with the pixels of its regions beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from lehr.protocol import resources_pb2

Window = tuple[float, float, float, float]
"""Top, left, bottom, right, as parts of the picture's height and width."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """The pixels of a region, and where in the whole picture they lie."""

    pixels: np.ndarray
    """uint8 [H, W, 3]."""
    window: Window


@dataclass(frozen=True, kw_only=True)
class Item:
    """What a node takes or gives for one picture."""

    data: resources_pb2.Data
    """Without the bytes of pictures. Boxes are in parts of the whole picture, whatever was cropped on the way."""
    crops: Mapping[str, Crop] = field(default_factory=dict)
    """By the id of their region."""


class Scene(Protocol):
    """What an operator may look at beside its item."""

    @property
    def pixels(self) -> np.ndarray:
        """The whole picture, found by looking back along the graph: uint8 [H, W, 3], in full size."""
        ...

    def synonyms(self, knowledge_graph_id: str) -> Mapping[str, tuple[resources_pb2.Concept, ...]]:
        """Id of a concept → concepts of the app that mean the same, by the app's own relations or those of a graph."""
        ...


def boxed(region: resources_pb2.Region) -> Window | None:
    """The box of a region, or the box around its polygon, or None where it has no extent."""
    info = region.region_info
    if info.HasField("bounding_box"):
        box = info.bounding_box
        return box.top_row, box.left_col, box.bottom_row, box.right_col
    points = info.polygon.points
    if len(points) < 2:
        return None
    rows, columns = [point.row for point in points], [point.col for point in points]
    return min(rows), min(columns), max(rows), max(columns)


def cut(pixels: np.ndarray, window: Window) -> Crop | None:
    """The part of a picture within the window, as far as it reaches; None where not a pixel of it is in the picture.

    The pixels are those of the picture, not copied: a thousand large regions take no more memory than it does.
    """
    height, width = pixels.shape[:2]
    top, left = max(0, round(window[0] * height)), max(0, round(window[1] * width))
    bottom, right = min(height, round(window[2] * height)), min(width, round(window[3] * width))
    if top >= bottom or left >= right:
        return None
    kept = (top / height, left / width, bottom / height, right / width)
    return Crop(pixels=pixels[top:bottom, left:right], window=kept)


def bare(region: resources_pb2.Region) -> resources_pb2.Region:
    """Which region it is, and where, without what is said of it."""
    return resources_pb2.Region(
        id=region.id, region_info=region.region_info, value=region.value, track_id=region.track_id
    )
