"""Keeps the concepts whose values stand as asked to their thresholds."""

from __future__ import annotations

from lehr.protocol import resources_pb2
from lehr.services.operators.item import Item, Scene
from lehr.services.operators.operator import Operator, Settings
from lehr.services.operators.threshold import PARAMETERS, passing


def run(item: Item, scene: Scene, settings: Settings) -> Item:
    """The same data with fewer concepts: of the whole, and of each region."""
    data = resources_pb2.Data()
    data.CopyFrom(item.data)
    for part in (data, *(region.data for region in data.regions)):
        kept = passing(part.concepts, settings)
        del part.concepts[:]
        part.concepts.extend(kept)
    return Item(data=data, crops=item.crops)


OPERATOR = Operator(
    model_type_id="concept-threshold",
    title="Concept Thresholder",
    description="Keeps the concepts whose values are above (or below) their thresholds.",
    input_fields=("concepts",),
    output_fields=("concepts",),
    parameters=PARAMETERS,
    has_concepts=True,
    run=run,
)
