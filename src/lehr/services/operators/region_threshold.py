"""Keeps the regions that have a concept whose value stands as asked to its threshold."""

from __future__ import annotations

from lehr.protocol import resources_pb2
from lehr.services.operators.item import Item, Scene
from lehr.services.operators.operator import Operator, Settings
from lehr.services.operators.threshold import PARAMETERS, passing


def run(item: Item, scene: Scene, settings: Settings) -> Item:
    """The same data with fewer regions; a region that stays keeps only its concepts that passed."""
    data = resources_pb2.Data()
    data.CopyFrom(item.data)
    del data.regions[:]
    for region in item.data.regions:
        kept = passing(region.data.concepts, settings)
        if kept:
            chosen = data.regions.add()
            chosen.CopyFrom(region)
            del chosen.data.concepts[:]
            chosen.data.concepts.extend(kept)
    present = {region.id for region in data.regions}
    return Item(data=data, crops={name: crop for name, crop in item.crops.items() if name in present})


OPERATOR = Operator(
    model_type_id="region-thresholder",
    title="Region Thresholder",
    description="Keeps the regions with a concept whose value is above (or below) its threshold.",
    input_fields=("regions[...].data.concepts",),
    output_fields=("regions[...].data.concepts",),
    parameters=PARAMETERS,
    has_concepts=True,
    run=run,
    aliases=("region-threshold",),
)
