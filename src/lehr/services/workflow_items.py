"""What a run of a workflow holds of each picture: pixels in the sizes that nodes want, and what was made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from PIL import Image

from lehr.errors import InvalidPrediction
from lehr.protocol import resources_pb2
from lehr.protocol.ids import new_id
from lehr.services.operators import Crop, Item

GIVEN = ("concepts", "regions", "embeddings")
"""What a client may send beside the picture."""
Synonyms = Callable[[str], Mapping[str, tuple[resources_pb2.Concept, ...]]]
_QUALITY = 95
MAX_REGIONS = 1000
"""That a client may send beside one picture."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image, or one frame of a video: a scene as operators see it."""

    decode: Callable[[int | None], np.ndarray]
    """By the shorter side wanted, None for the full size. Raises LehrError."""
    given: Item
    """What the client said of it."""
    find_synonyms: Synonyms
    _sizes: dict[int | None, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    def at(self, shorter_side: int | None) -> np.ndarray:
        """The picture with this shorter side, decoded once: uint8 [H, W, 3]."""
        if shorter_side not in self._sizes:
            self._sizes[shorter_side] = self.decode(shorter_side)
        return self._sizes[shorter_side]

    @property
    def num_bytes(self) -> int:
        """Of all sizes that are held."""
        return sum(pixels.nbytes for pixels in self._sizes.values())

    @property
    def pixels(self) -> np.ndarray:
        """In full size."""
        return self.at(None)

    def synonyms(self, knowledge_graph_id: str) -> Mapping[str, tuple[resources_pb2.Concept, ...]]:
        """As the app relates its concepts."""
        return self.find_synonyms(knowledge_graph_id)


def given_item(data: resources_pb2.Data) -> Item:
    """What a client said of its picture, without the picture; its regions get ids where they have none.

    Raises InvalidPrediction for more regions than are looked at, or a position that is no number.
    """
    if len(data.regions) > MAX_REGIONS:
        raise InvalidPrediction(
            f"A picture comes with at most {MAX_REGIONS} regions; this one has {len(data.regions)}."
        )
    for number, region in enumerate(data.regions):
        if not all(map(math.isfinite, _positions(region))):
            raise InvalidPrediction(f"data.regions[{number}]: a position is no number; positions run from 0 to 1.")
    kept = resources_pb2.Data()
    for name in GIVEN:
        getattr(kept, name).extend(getattr(data, name))
    for region in kept.regions:
        region.id = region.id or new_id()
        for picture in (region.data.image, region.data.video):
            picture.ClearField("base64")
    return Item(data=kept)


def _positions(region: resources_pb2.Region) -> Iterator[float]:
    """Every number of where it is, and where the regions inside it are."""
    info, box = region.region_info, region.region_info.bounding_box
    yield from (box.top_row, box.left_col, box.bottom_row, box.right_col)
    for point in (*info.polygon.points, info.point):
        yield from (point.row, point.col)
    for inner in region.data.regions:
        yield from _positions(inner)


def merged(items: Sequence[Item]) -> Item:
    """What several nodes gave, as one item: regions of one id become one, of one concept the higher value stays."""
    if len(items) == 1:
        return items[0]
    data = resources_pb2.Data()
    regions: dict[str, resources_pb2.Region] = {}
    crops: dict[str, Crop] = {}
    for item in items:
        _join(data, item.data)
        crops.update(item.crops)
        for region in item.data.regions:
            if region.id in regions:
                _join(regions[region.id].data, region.data)
            else:
                regions[region.id] = data.regions.add()
                regions[region.id].CopyFrom(region)
    return Item(data=data, crops=crops)


def _join(into: resources_pb2.Data, more: resources_pb2.Data) -> None:
    known = {concept.id: concept for concept in into.concepts}
    for concept in more.concepts:
        if concept.id in known:
            known[concept.id].value = max(known[concept.id].value, concept.value)
        else:
            known[concept.id] = into.concepts.add()
            known[concept.id].CopyFrom(concept)
    ranked = sorted(into.concepts, key=lambda concept: -concept.value)
    del into.concepts[:]
    into.concepts.extend(ranked)
    into.embeddings.extend(more.embeddings)
    into.clusters.extend(more.clusters)


def shown(item: Item) -> resources_pb2.Data:
    """As an answer carries it: cut-out pictures are in it, as JPEG."""
    data = resources_pb2.Data()
    data.CopyFrom(item.data)
    for region in data.regions:
        crop = item.crops.get(region.id)
        if crop is not None:
            region.data.image.base64 = _jpeg(crop.pixels)
            region.data.image.image_info.format = "JPEG"
            region.data.image.image_info.height, region.data.image.image_info.width = crop.pixels.shape[:2]
    return data


def _jpeg(pixels: np.ndarray) -> bytes:
    out = BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=_QUALITY, subsampling=0)
    return out.getvalue()
