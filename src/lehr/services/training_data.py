"""What a training reads: the app's items as the learning library wants them, chosen and split as the request says."""

from __future__ import annotations

import base64
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import Connection

from lehr.errors import NotFound
from lehr.learn.items import Box, OfVideo
from lehr.learn.items import Item as TrainingItem
from lehr.protocol import resources_pb2, service_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.structs import from_value
from lehr.services.selection import checked_search, selects
from lehr.services.training_contents import Contents, ReadBytes, name_of
from lehr.store import concepts as concept_rows
from lehr.store import dataset_versions, datasets
from lehr.store import items as item_rows
from lehr.store.db import Database

Part = Literal["", "train", "test"]
Searches = Mapping[str, resources_pb2.Search]

TRAIN, TEST = "train_search", "test_search"
TEST_SPLITS = ("test", "val", "validation", "valid")


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Needs the store, and a way to the contents."""

    db: Database
    contents: Contents

    def all_concepts(self, ref: AppRef) -> tuple[str, ...]:
        """The ids of every concept of the app, oldest first."""
        with self.db.read() as tx:
            return tuple(concept.id for concept in concept_rows.page(tx, ref, page=1, per_page=100_000))

    def read(self, source: item_rows.Source, searches: Searches) -> Generator[TrainingItem, None, None]:
        """The items to train on, in the order of their creation, with their part where a search or a label says so.

        Of a video these are its annotated frames, and its middle where something is said of the whole.
        """
        with self.db.read() as tx:
            for item in item_rows.stream(tx, source):
                memberships = datasets.of_input(tx, source.app, item.input_id) if searches else ()
                part = _part(item, searches, memberships)
                if part is None or not item.content_sha:
                    continue
                if item.input.data.HasField("video"):
                    yield from self._of_video(item, part, is_fixed=TEST in searches)
                else:
                    yield self._of_image(item, part)

    def _of_image(self, item: item_rows.Item, part: Part) -> TrainingItem:
        said = [annotation.data for annotation in item.annotations]
        return _training_item(item.input_id, item.content_sha, self.contents.picture(item.content_sha), said, part)

    def _of_video(self, item: item_rows.Item, part: Part, *, is_fixed: bool) -> Iterator[TrainingItem]:
        """`is_fixed`: searches have decided about the part; else a frame's own annotation may."""
        video, length = item.content_sha, item.input.data.video.video_info.duration_seconds
        whole = [annotation for annotation in item.annotations if not annotation.data.frames]
        part = part if is_fixed else _labelled_part(whole)
        if said := [resources_pb2.Data(concepts=note.data.concepts) for note in whole if note.data.concepts]:
            yield self._frame(item.input_id, OfVideo(sha256=video, time_ms=round(500 * length)), said, part)
        for (time_ms, number), notes in _moments(item).items():
            of_video = OfVideo(sha256=video, time_ms=time_ms, number=number)
            own = "" if is_fixed else _labelled_part(annotation for annotation, _ in notes)
            yield self._frame(frame_id(item.input_id, of_video), of_video, [data for _, data in notes], own or part)

    def _frame(self, id_: str, of_video: OfVideo, said: Sequence[resources_pb2.Data], part: Part) -> TrainingItem:
        made = _training_item(id_, name_of(of_video), self.contents.frame(of_video), said, part)
        return replace(made, of_video=of_video)


def _training_item(
    id_: str, sha256: str, read: ReadBytes, said: Sequence[resources_pb2.Data], part: Part
) -> TrainingItem:
    positives, negatives = labels_told(said)
    return TrainingItem(
        id=id_, sha256=sha256, read=read, positives=positives, negatives=negatives, split=part, boxes=boxes_told(said)
    )


def _moments(item: item_rows.Item) -> dict[tuple[int, int], list[tuple[resources_pb2.Annotation, resources_pb2.Data]]]:
    """(time, number) of each annotated frame → what is said of it, and in which annotation; the number only where no
    time is given."""
    moments: dict[tuple[int, int], list[tuple[resources_pb2.Annotation, resources_pb2.Data]]] = {}
    for annotation in item.annotations:
        for frame in annotation.data.frames:
            info = frame.frame_info
            moment = (info.time, 0 if info.time else info.number)
            moments.setdefault(moment, []).append((annotation, frame.data))
    return moments


def check_source(tx: Connection, source: item_rows.Source) -> None:
    """Raises NotFound if the dataset, or its version, is not there."""
    app, dataset_id, version_id = source.app, source.dataset_id, source.dataset_version_id
    if not dataset_id:
        return
    if datasets.get(tx, app, dataset_id) is None:
        raise NotFound(f"There is no dataset {dataset_id!r} in app {app.app_id!r}.")
    if version_id and dataset_versions.get(tx, app, dataset_id, version_id) is None:
        raise NotFound(f"Dataset {dataset_id!r} has no version {version_id!r}.")


def num_items(tx: Connection, source: item_rows.Source) -> int:
    """How many items `Reader.read` yields of a source, without reading more than what is said of videos."""
    others = item_rows.count(tx, source)
    return others + sum(_num_frames(item) - 1 for item in item_rows.videos(tx, source))


def _num_frames(item: item_rows.Item) -> int:
    """Of a video: its annotated frames, and its middle where something is said of the whole."""
    is_told_of = any(note.data.concepts and not note.data.frames for note in item.annotations)
    return len(_moments(item)) + is_told_of


def frame_id(input_id: str, of_video: OfVideo) -> str:
    """What a frame's item is called: no input's id has an @ in it."""
    moment = f"frame{of_video.number}" if of_video.number and not of_video.time_ms else f"{of_video.time_ms}ms"
    return f"{input_id}@{moment}"


def named_frame(item_id: str) -> tuple[str, resources_pb2.FrameInfo | None]:
    """The input that an item is of, and the frame of it where it is one: the inverse of `frame_id`."""
    input_id, _, moment = item_id.partition("@")
    if not moment:
        return input_id, None
    if moment.startswith("frame"):
        return input_id, resources_pb2.FrameInfo(number=int(moment.removeprefix("frame")))
    return input_id, resources_pb2.FrameInfo(time=int(moment.removesuffix("ms")))


def labels_of(item: item_rows.Item) -> tuple[frozenset[str], frozenset[str]]:
    """Concept ids that are true of an input as a whole, and those that are said not to be; see `labels_told`."""
    return labels_told(annotation.data for annotation in item.annotations)


def labels_told(said: Iterable[resources_pb2.Data]) -> tuple[frozenset[str], frozenset[str]]:
    """Concept ids that are true of the whole image, and those that are said not to be: a value from 0.5 up is true.

    Regions speak of a part of the image and are left to detectors. A concept said to be both counts as true.
    """
    told: dict[str, bool] = {}
    for data in said:
        for concept in data.concepts:
            told[concept.id] = told.get(concept.id, False) or concept.value >= 0.5
    return frozenset(c for c, true in told.items() if true), frozenset(c for c, true in told.items() if not true)


def boxes_of(item: item_rows.Item) -> tuple[Box, ...]:
    """The boxes of an image; see `boxes_told`."""
    return boxes_told(annotation.data for annotation in item.annotations)


def boxes_told(said: Iterable[resources_pb2.Data]) -> tuple[Box, ...]:
    """The boxes of the image's regions, one per concept that is true there (a value from 0.5 up).

    A region that is a polygon counts as the box around it; other regions have no box.
    """
    return tuple(
        Box(concept=concept.id, **dict(zip(("top", "left", "bottom", "right"), sides, strict=True)))
        for data in said
        for region in data.regions
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
        return "train" if TEST in searches else _labelled_part(item.annotations)
    return "train" if TEST in searches else _labelled_part(item.annotations)


def _labelled_part(annotations: Iterable[resources_pb2.Annotation]) -> Part:
    """`annotation_info.split` of an item's annotations; "" leaves the choice to the learning library."""
    for annotation in annotations:
        split = from_value(annotation.annotation_info.fields["split"]) if annotation.HasField("annotation_info") else ""
        if split in TEST_SPLITS:
            return "test"
        if split == "train":
            return "train"
    return ""
