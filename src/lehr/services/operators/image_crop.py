"""Cuts every region out of its picture, so that the next model sees only that."""

from __future__ import annotations

from lehr.protocol import resources_pb2
from lehr.services.operators.item import Item, Scene, Window, boxed, cut
from lehr.services.operators.item import bare as bare_region
from lehr.services.operators.operator import Operator, Parameter, Settings


def grown(window: Window, margin: float) -> Window:
    """The window around the same middle, `margin` times as high and as wide."""
    top, left, bottom, right = window
    middle_row, middle_column = (top + bottom) / 2, (left + right) / 2
    half_height, half_width = (bottom - top) / 2 * margin, (right - left) / 2 * margin
    return (
        middle_row - half_height,
        middle_column - half_width,
        middle_row + half_height,
        middle_column + half_width,
    )


def run(item: Item, scene: Scene, settings: Settings) -> Item:
    """Regions with their pixels; one without extent, or outside the picture, is left out."""
    regions, crops = [], {}
    for region in item.data.regions:
        window = boxed(region)
        crop = cut(scene.pixels, grown(window, settings.values["margin"])) if window else None
        if crop is not None:
            regions.append(bare_region(region))
            crops[region.id] = crop
    return Item(data=resources_pb2.Data(regions=regions), crops=crops)


OPERATOR = Operator(
    model_type_id="image-crop",
    title="Image Cropper",
    description="Cuts each region out of the image that the workflow was given.",
    input_fields=("image,regions",),
    output_fields=("regions[...].data.image",),
    parameters=(
        Parameter(
            name="margin",
            kind="number",
            default=1.0,
            minimum=0.1,
            maximum=10,
            step=0.01,
            sentence="Height and width of what is cut out, as multiples of the region's: 1.1 leaves a rim of 5 %.",
        ),
    ),
    run=run,
)
