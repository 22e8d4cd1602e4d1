"""The nodes of a workflow made ready to run: a stage takes the items of many pictures at once, and gives as many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lehr.errors import InvalidPrediction
from lehr.protocol import resources_pb2
from lehr.services.operators import Crop, Item, Operator, Settings
from lehr.services.operators.item import Window, bare
from lehr.services.predict import Ready
from lehr.services.workflow_items import Picture

Vectors = Callable[[np.ndarray, bool], Sequence[resources_pb2.Data]]
"""(embeddings [N, D], whether they are of regions) -> what is to be said of each."""


class Stage(Protocol):
    """One node, ready."""

    @property
    def sizes(self) -> tuple[int | None, ...]:
        """Shorter sides of the whole pictures that it will look at; None: the full size."""
        ...

    def run(self, items: Sequence[Item], pictures: Sequence[Picture]) -> list[Item]:
        """What it gives for each picture. Raises Loading or Busy."""
        ...


@dataclass(frozen=True, kw_only=True)
class OperatorStage:
    """A plain function of each item."""

    operator: Operator
    settings: Settings
    looks: bool
    """Whether it needs the picture itself."""

    @property
    def sizes(self) -> tuple[int | None, ...]:
        """The full size: whatever it cuts out may be small."""
        return (None,) if self.looks else ()

    def run(self, items: Sequence[Item], pictures: Sequence[Picture]) -> list[Item]:
        """As the operator does it."""
        return [self.operator.run(item, picture, self.settings) for item, picture in zip(items, pictures, strict=True)]


@dataclass(frozen=True, kw_only=True)
class PictureStage:
    """A trained model on whole pictures, or on the cut-out regions of each, all in one batch."""

    ready: Ready
    per_region: bool

    @property
    def sizes(self) -> tuple[int | None, ...]:
        """That of the model; of regions it sees only what was cut out."""
        return () if self.per_region else (self.ready.image_size,)

    def run(self, items: Sequence[Item], pictures: Sequence[Picture]) -> list[Item]:
        """One prediction for each picture or each of its regions."""
        if not self.per_region:
            found = self.ready.data([picture.at(self.ready.image_size) for picture in pictures])
            return [Item(data=data) for data in found]
        told = iter(self.ready.data([crop.pixels for item in items for _, crop in cropped(item)]))
        finds_regions = self.ready.bundle.output == "detections"
        results = []
        for item in items:
            parts = [(region, crop, next(told)) for region, crop in cropped(item)]
            results.append(Item(data=_flattened(parts) if finds_regions else _per_region(parts)))
        return results


@dataclass(frozen=True, kw_only=True)
class VectorStage:
    """Something that works on embeddings: those it is given, or those that its embedder makes of pictures."""

    use: Vectors
    embedder: PictureStage | None
    """None: embeddings come in."""
    per_region: bool

    @property
    def sizes(self) -> tuple[int | None, ...]:
        """That of its embedder."""
        return self.embedder.sizes if self.embedder else ()

    def run(self, items: Sequence[Item], pictures: Sequence[Picture]) -> list[Item]:
        """What is said of each picture, or of each of its regions."""
        embedded = self.embedder.run(items, pictures) if self.embedder else list(items)
        if not self.per_region:
            told = self.use(_stacked([item.data for item in embedded]), False) if embedded else ()
            return [Item(data=data) for data in told]
        regions = [[region for region in item.data.regions if region.data.embeddings] for item in embedded]
        flat = [region.data for group in regions for region in group]
        said = iter(self.use(_stacked(flat), True) if flat else ())
        return [Item(data=resources_pb2.Data(regions=[_with(r, next(said)) for r in group])) for group in regions]


def cropped(item: Item) -> list[tuple[resources_pb2.Region, Crop]]:
    """The regions that have pixels, in order."""
    return [(region, item.crops[region.id]) for region in item.data.regions if region.id in item.crops]


def _stacked(told: Sequence[resources_pb2.Data]) -> np.ndarray:
    """float32 [N, D]. Raises InvalidPrediction where one is missing or of another length."""
    vectors = [np.asarray(data.embeddings[0].vector, np.float32) if data.embeddings else np.empty(0) for data in told]
    lengths = {len(vector) for vector in vectors}
    if lengths == {0} or len(lengths) != 1:
        raise InvalidPrediction(f"Embeddings of one length are needed; these have {sorted(lengths)} numbers.")
    return np.stack(vectors)


def _with(region: resources_pb2.Region, data: resources_pb2.Data) -> resources_pb2.Region:
    """The region, with this said of it."""
    result = bare(region)
    result.data.CopyFrom(data)
    return result


def _per_region(parts: Sequence[tuple[resources_pb2.Region, Crop, resources_pb2.Data]]) -> resources_pb2.Data:
    return resources_pb2.Data(regions=[_with(region, data) for region, _, data in parts])


def _flattened(parts: Sequence[tuple[resources_pb2.Region, Crop, resources_pb2.Data]]) -> resources_pb2.Data:
    """What was found inside regions, as regions of the whole picture; the best first."""
    found = []
    for _, crop, data in parts:
        for region in data.regions:
            box = region.region_info.bounding_box
            inner = (box.top_row, box.left_col, box.bottom_row, box.right_col)
            top, left, bottom, right = outer(inner, crop.window)
            box.CopyFrom(resources_pb2.BoundingBox(top_row=top, left_col=left, bottom_row=bottom, right_col=right))
            found.append(region)
    return resources_pb2.Data(regions=sorted(found, key=lambda region: -region.value))


def outer(inner: Window, window: Window) -> Window:
    """A box within a window, as a box of what the window is in."""
    top, left, bottom, right = window
    height, width = bottom - top, right - left
    return top + inner[0] * height, left + inner[1] * width, top + inner[2] * height, left + inner[3] * width
