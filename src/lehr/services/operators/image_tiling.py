"""Divides a picture into tiles of one size, so that a detector finds what is small in it."""

from __future__ import annotations

from lehr.protocol import resources_pb2
from lehr.services.operators.item import Item, Scene, Window, cut
from lehr.services.operators.operator import Operator, Parameter, Settings


def tiles(rows: int, columns: int, overlap: float) -> list[Window]:
    """Windows row by row that cover the picture; each reaches `overlap` of a tile into its neighbours."""
    height, width = 1 / (1 + (rows - 1) * (1 - overlap)), 1 / (1 + (columns - 1) * (1 - overlap))
    return [
        (
            row * height * (1 - overlap),
            column * width * (1 - overlap),
            row * height * (1 - overlap) + height,
            column * width * (1 - overlap) + width,
        )
        for row in range(rows)
        for column in range(columns)
    ]


def run(item: Item, scene: Scene, settings: Settings) -> Item:
    """One region per tile, with its pixels."""
    values = settings.values
    data, crops = resources_pb2.Data(), {}
    for number, window in enumerate(tiles(int(values["num_rows"]), int(values["num_columns"]), values["overlap"])):
        crop = cut(scene.pixels, window)
        if crop is None:
            continue
        region = data.regions.add(id=f"tile-{number}")
        top, left, bottom, right = crop.window
        region.region_info.bounding_box.CopyFrom(
            resources_pb2.BoundingBox(top_row=top, left_col=left, bottom_row=bottom, right_col=right)
        )
        crops[region.id] = crop
    return Item(data=data, crops=crops)


def _count(name: str, what: str) -> Parameter:
    return Parameter(
        name=name, kind="number", default=2, minimum=1, maximum=16, step=1, sentence=f"How many {what} of tiles."
    )


OPERATOR = Operator(
    model_type_id="image-tiling-operator",
    title="Image Tiling",
    description="Divides the image into equal tiles; what a detector finds in them comes back in whole-image terms.",
    input_fields=("image",),
    output_fields=("regions[...].data.image",),
    parameters=(
        _count("num_rows", "rows"),
        _count("num_columns", "columns"),
        Parameter(
            name="overlap",
            kind="number",
            default=0.0,
            minimum=0,
            maximum=0.9,
            step=0.01,
            sentence="How far each tile reaches into its neighbours, as a part of a tile.",
        ),
    ),
    run=run,
)
