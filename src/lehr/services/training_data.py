"""What a training reads: the app's items as the learning library wants them, chosen and split as the request says."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lehr.learn.items import Box
from lehr.learn.items import Item as TrainingItem
from lehr.protocol import resources_pb2, service_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.structs import from_value
from lehr.services.selection import checked_search, selects
from lehr.store import concepts as concept_rows
from lehr.store import datasets
from lehr.store import items as item_rows
from lehr.store.blobs import Blobs
from lehr.store.db import Database

Part = Literal["", "train", "test"]
Searches = Mapping[str, resources_pb2.Search]

TRAIN, TEST = "train_search", "test_search"
TEST_SPLITS = ("test", "val", "validation", "valid")


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Needs the store and the blobs."""

    db: Database
    blobs: Blobs

    def all_concepts(self, ref: AppRef) -> tuple[str, ...]:
        """The ids of every concept of the app, oldest first."""
        with self.db.read() as tx:
            return tuple(concept.id for concept in concept_rows.page(tx, ref, page=1, per_page=100_000))

    def read(self, source: item_rows.Source, searches: Searches) -> Iterator[TrainingItem]:
        """The items to train on, in the order of their creation, with their part where a search or a label says so."""
        with self.db.read() as tx:
            for item in item_rows.stream(tx, source):
                memberships = datasets.of_input(tx, source.app, item.input_id) if searches else ()
                part = _part(item, searches, memberships)
                if part is not None and item.content_sha:
                    yield self._training_item(item, part)

    def _training_item(self, item: item_rows.Item, part: Part) -> TrainingItem:
        positives, negatives = labels_of(item)
        sha = item.content_sha
        return TrainingItem(
            id=item.input_id,
            sha256=sha,
            read=lambda: self.blobs.read(sha),
            positives=positives,
            negatives=negatives,
            split=part,
            boxes=boxes_of(item),
        )


def labels_of(item: item_rows.Item) -> tuple[frozenset[str], frozenset[str]]:
    """Concept ids that are true of the whole image, and those that are said not to be: a value from 0.5 up is true.

    Regions speak of a part of the image and are left to detectors. A concept said to be both counts as true.
    """
    told: dict[str, bool] = {}
    for annotation in item.annotations:
        for concept in annotation.data.concepts:
            told[concept.id] = told.get(concept.id, False) or concept.value >= 0.5
    return frozenset(c for c, true in told.items() if true), frozenset(c for c, true in told.items() if not true)


def boxes_of(item: item_rows.Item) -> tuple[Box, ...]:
    """The boxes of the image's regions, one per concept that is true there (a value from 0.5 up).

    A region that is a polygon counts as the box around it; other regions have no box.
    """
    return tuple(
        Box(concept=concept.id, **dict(zip(("top", "left", "bottom", "right"), sides, strict=True)))
        for annotation in item.annotations
        for region in annotation.data.regions
        if (sides := _sides(region.region_info))
        for concept in region.data.concepts
        if concept.value >= 0.5
    )


def _sides(info: resources_pb2.RegionInfo) -> tuple[float, float, float, float] | None:
    """Top, left, bottom, right as parts of the image's height and width."""
    if info.HasField("bounding_box"):
        box = info.bounding_box
        return box.top_row, box.left_col, box.bottom_row, box.right_col
    if info.HasField("polygon"):
        rows, columns = zip(*((point.row, point.col) for point in info.polygon.points), strict=True)
        return min(rows), min(columns), max(rows), max(columns)
    return None


def payload_of(request: service_pb2.PostModelVersionsRequest) -> dict[str, str]:
    """The searches of a request as a job's payload. Raises InvalidSearch for one that cannot be answered."""
    given = {TRAIN: request.train_search, TEST: request.test_search}
    if request.HasField("search") and not request.HasField("train_search"):
        given[TRAIN] = request.search
    payload = {}
    for name, search in given.items():
        if search.ListFields():
            checked_search(search, name)
            payload[name] = base64.b64encode(search.SerializeToString()).decode()
    return payload


def searches_of(payload: Mapping[str, object]) -> Searches:
    """The searches back out of a job's payload."""
    return {
        name: resources_pb2.Search.FromString(base64.b64decode(str(payload[name])))
        for name in (TRAIN, TEST)
        if name in payload
    }


def _part(item: item_rows.Item, searches: Searches, dataset_ids: Sequence[str]) -> Part | None:
    """The part an item belongs to; None leaves it out. A search decides before a label's `split` does."""
    if TEST in searches and selects(searches[TEST], item, dataset_ids):
        return "test"
    if TRAIN in searches:
        if not selects(searches[TRAIN], item, dataset_ids):
            return None
        return "train" if TEST in searches else _labelled_part(item)
    return "train" if TEST in searches else _labelled_part(item)


def _labelled_part(item: item_rows.Item) -> Part:
    """`annotation_info.split` of the item's annotations; "" leaves the choice to the learning library."""
    for annotation in item.annotations:
        split = from_value(annotation.annotation_info.fields["split"]) if annotation.HasField("annotation_info") else ""
        if split in TEST_SPLITS:
            return "test"
        if split == "train":
            return "train"
    return ""
