"""Turns and cuts out each region so that its first two key points lie level: eyes, wheels, the ends of a label."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from lehr.errors import InvalidPrediction
from lehr.protocol import resources_pb2
from lehr.services.operators.item import Crop, Item, Scene, bare, boxed
from lehr.services.operators.operator import Operator, Parameter, Settings

Points = Sequence[resources_pb2.Point]
MAX_BYTES = 2**29
"""Of the pixels cut out of one picture."""


def key_points(region: resources_pb2.Region) -> Points:
    """The corners of its polygon, else the points of the regions inside it, in order."""
    if region.region_info.HasField("polygon"):
        return list(region.region_info.polygon.points)
    inner = [part.region_info.point for part in region.data.regions if part.region_info.HasField("point")]
    return inner or ([region.region_info.point] if region.region_info.HasField("point") else [])


def turned(pixels: np.ndarray, points: Points, margin: float) -> np.ndarray | None:
    """uint8 [S, S, 3]: the square around the points, turned so that the first two lie level, the first one left.

    None where the first two are one point. S is as many pixels as the square has in the picture, at least 1, and no
    more than make a square as large as the picture.
    """
    height, width = pixels.shape[:2]
    xy = np.array([(point.col * width, point.row * height) for point in points])
    across = xy[1] - xy[0]
    length = float(np.hypot(*across))
    if length < 1e-6:
        return None
    cosine, sine = across / length
    level = (xy - xy[0]) @ np.array([[cosine, -sine], [sine, cosine]])
    low, high = level.min(axis=0), level.max(axis=0)
    side = max(1, math.ceil(float((high - low).max()) * margin))
    corner = (low + high) / 2 - side / 2
    start = xy[0] + corner @ np.array([[cosine, sine], [-sine, cosine]])
    inverse = (cosine, -sine, start[0], sine, cosine, start[1])
    side_px = max(1, min(side, math.isqrt(height * width)))
    scale = side / side_px
    matrix = tuple(value * (scale if index % 3 != 2 else 1) for index, value in enumerate(inverse))
    image = Image.fromarray(pixels).transform(
        (side_px, side_px), Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR
    )
    return np.asarray(image)


def run(item: Item, scene: Scene, settings: Settings) -> Item:
    """Regions with their turned pixels; one without two key points is left out. Raises InvalidPrediction."""
    regions, crops, num_bytes = [], {}, 0
    for region in item.data.regions:
        points = key_points(region)
        pixels = turned(scene.pixels, points, settings.values["margin"]) if len(points) >= 2 else None
        if pixels is None:
            continue
        num_bytes += pixels.nbytes
        if num_bytes > MAX_BYTES:
            raise InvalidPrediction(f"Regions turned level take more than {MAX_BYTES:,} bytes; send fewer at a time.")
        rows, columns = [point.row for point in points], [point.col for point in points]
        window = boxed(region) or (min(rows), min(columns), max(rows), max(columns))
        regions.append(bare(region))
        crops[region.id] = Crop(pixels=pixels, window=window)
    return Item(data=resources_pb2.Data(regions=regions), crops=crops)


OPERATOR = Operator(
    model_type_id="image-align",
    title="Image Align",
    description="Turns each region so that its first two key points lie level, and cuts it out.",
    input_fields=("image,regions",),
    output_fields=("regions[...].data.image",),
    parameters=(
        Parameter(
            name="margin",
            kind="number",
            default=2.0,
            minimum=1,
            maximum=10,
            step=0.01,
            sentence="Side of what is cut out, as a multiple of the extent of the key points.",
        ),
    ),
    run=run,
)
