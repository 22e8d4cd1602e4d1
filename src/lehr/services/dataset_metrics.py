"""Figures of a frozen version of a data set: how many inputs, labels and shapes, all together and by several sorts.

Small versions are counted when asked, large ones by a job; either way once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from lehr.errors import LehrError
from lehr.jobs.queue import Job, Queue, State
from lehr.protocol import resources_pb2, service_pb2, status_code_pb2, struct_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.structs import to_value
from lehr.services.media import KINDS
from lehr.services.paging import Paging
from lehr.store import dataset_exports as rows
from lehr.store import dataset_versions as version_rows
from lehr.store import items
from lehr.store.db import Database
from lehr.store.items import Item

KIND = "dataset-metrics"
COUNTED_AT_ONCE = 2000
"""Inputs that are counted while the caller waits."""
_COUNTS = (
    "inputs_count", "unlabeled_inputs_count", "inputs_with_metadata_count", "inputs_with_geo_count", "regions_count",
    "bounding_boxes_count", "polygons_count", "points_count", "masks_count", "region_inputs_count",
    "region_frames_count", "frames_count", "frame_inputs_count", "embeddings_count", "positive_input_tags_count",
    "positive_region_tags_count", "positive_frame_tags_count",
)  # fmt: skip
_SHAPES = {
    "bounding_box": "bounding_boxes_count",
    "polygon": "polygons_count",
    "point": "points_count",
    "mask": "masks_count",
}
_Group = resources_pb2.DatasetVersionMetricsGroupType
TOTAL = "total"
"""The published package looks for the input type of this name."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which groups a list is of; an empty field means any."""

    parent_paths: Sequence[str] = ()
    types: Sequence[int] = ()
    values: Sequence[struct_pb2.Value] = ()


@dataclass(frozen=True, kw_only=True)
class DatasetMetrics:
    """Needs the store, and the queue for what takes long."""

    db: Database
    queue: Queue

    def list_of(
        self, ref: AppRef, version: tuple[str, str], wanted: Wanted, paging: Paging
    ) -> list[resources_pb2.DatasetVersionMetricsGroup]:
        """A page of the groups of a version (data set id, version id); empty while they are being counted.

        Raises NotFound, and LehrError where the last attempt failed, which has them counted anew.
        """
        with self.db.read() as tx:
            data = rows.groups(tx, ref, *version)
            number = version_rows.count_inputs(tx, ref, *version)
        if data is None and number > COUNTED_AT_ONCE:
            self._queue(ref, version)
            return []
        found = _parsed(data) if data is not None else self._counted(ref, version)
        chosen = [group for group in found.dataset_version_metrics_groups if _is_wanted(group, wanted)]
        start = (paging.page - 1) * paging.per_page
        return chosen[start : start + paging.per_page]

    def run(self, job: Job) -> None:
        """Counts a large version."""
        payload = job.payload
        ref = AppRef(payload["user_id"], payload["app_id"])
        self._counted(ref, (payload["dataset_id"], payload["version_id"]), job)

    def _queue(self, ref: AppRef, version: tuple[str, str]) -> None:
        subject = f"{ref.user_id}/{ref.app_id}/+metrics/{'/'.join(version)}"
        payload = {"user_id": ref.user_id, "app_id": ref.app_id, "dataset_id": version[0], "version_id": version[1]}
        with self.db.write() as tx:
            views = self.queue.of_subject(tx, subject)
            if any(not view.state.is_final for view in views):
                return
            self.queue.add(tx, KIND, payload, subject)
        if views and views[0].state is State.FAILED:
            raise LehrError(
                f"The figures of version {version[1]!r} could not be counted: {views[0].error}. They are being counted "
                "anew; ask again in a moment.",
                code=status_code_pb2.DATASET_VERSION_UNEXPECTED_ERROR,
            )

    def _counted(
        self, ref: AppRef, version: tuple[str, str], job: Job | None = None
    ) -> service_pb2.MultiDatasetVersionMetricsGroupResponse:
        source = items.Source(app=ref, dataset_id=version[0], dataset_version_id=version[1])
        tally = Tally()
        with self.db.read() as tx:
            for item in items.stream(tx, source):
                tally.add(item)
                if job is not None:
                    self.queue.beat(job)
        made = service_pb2.MultiDatasetVersionMetricsGroupResponse(dataset_version_metrics_groups=tally.groups())
        with self.db.write() as tx:
            self._keep(tx, ref, version, made, job)
        return made

    def _keep(
        self,
        tx: Connection,
        ref: AppRef,
        version: tuple[str, str],
        made: service_pb2.MultiDatasetVersionMetricsGroupResponse,
        job: Job | None,
    ) -> None:
        if job is not None:
            self.queue.fence(tx, job)
        rows.set_groups(tx, ref, *version, made.SerializeToString())


def _parsed(data: bytes) -> service_pb2.MultiDatasetVersionMetricsGroupResponse:
    found = service_pb2.MultiDatasetVersionMetricsGroupResponse()
    found.MergeFromString(data)
    return found


def _is_wanted(group: resources_pb2.DatasetVersionMetricsGroup, wanted: Wanted) -> bool:
    return (
        (not wanted.parent_paths or group.parent_path in wanted.parent_paths)
        and (not wanted.types or group.type in wanted.types)
        and (not wanted.values or group.value in wanted.values)
    )


@dataclass
class Tally:
    """Counts items, each in every group that it belongs to."""

    _counts: dict[tuple[str, int, Any], Counter[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._group("", _Group.INPUT_TYPE, TOTAL)  # there even where nothing else is

    def add(self, item: Item) -> None:
        """Counts one input with all its annotations."""
        data, notes = item.input.data, [note.data for note in item.annotations]
        kind = next((kind for kind in KINDS if data.HasField(kind)), "")
        whole = _whole(item)
        for value in (TOTAL, kind):
            self._group("", _Group.INPUT_TYPE, value).update(whole)
        concepts = list(_of_concepts(data, notes))
        for concept_id, counts in concepts:
            self._group("", _Group.CONCEPT_ID, concept_id).update(counts)
        self._group("", _Group.CONCEPTS_COUNT, len(concepts))["inputs_count"] += 1
        for shape, count in _SHAPES.items():
            path = f"regions[...].region_info.{shape}"
            self._group(path, _Group.Value(f"{count.upper()}"), whole[count])["inputs_count"] += 1
        info = data.image.image_info
        if info.width and info.height:
            self._group("image", _Group.PIXELS_COUNT, info.width * info.height)["inputs_count"] += 1
            self._group("image", _Group.ASPECT_RATIO, round(info.width / info.height, 2))["inputs_count"] += 1

    def _group(self, path: str, type_: int, value: Any) -> Counter[str]:
        return self._counts.setdefault((path, type_, value), Counter())

    def groups(self) -> list[resources_pb2.DatasetVersionMetricsGroup]:
        """All groups: sorts in the protocol's order, the total first, numbers rising."""
        return [
            resources_pb2.DatasetVersionMetricsGroup(
                parent_path=path,
                type=type_,
                value=to_value(value),
                metrics=_metrics(self._counts[path, type_, value]),
            )
            for path, type_, value in sorted(self._counts, key=_order)
        ]


def _order(key: tuple[str, int, Any]) -> tuple[int, str, bool, Any]:
    path, type_, value = key
    return type_, path, value != TOTAL, value


def _metrics(counts: Counter[str]) -> resources_pb2.DatasetVersionMetrics:
    """All figures are there, zeros too: the published package adds them without looking."""
    made = resources_pb2.DatasetVersionMetrics()
    for name in _COUNTS:
        getattr(made, name).value = counts[name]
    return made


def _whole(item: Item) -> Counter[str]:
    """What one input adds to a group it belongs to as a whole."""
    data = item.input.data
    counts: Counter[str] = Counter(inputs_count=1)
    counts["inputs_with_metadata_count"] = int(bool(data.metadata.fields))
    counts["inputs_with_geo_count"] = int(data.HasField("geo"))
    counts["positive_input_tags_count"] = len(_positive(data.concepts))
    regions = [region for note in item.annotations for region in note.data.regions]
    frames = [frame for note in item.annotations for frame in note.data.frames]
    for region in regions:
        _count_region(counts, region)
    counts["region_inputs_count"] = int(bool(regions))
    counts["frames_count"], counts["frame_inputs_count"] = len(frames), int(bool(frames))
    counts["region_frames_count"] = sum(bool(frame.data.regions) for frame in frames)
    counts["positive_frame_tags_count"] = sum(len(_positive(frame.data.concepts)) for frame in frames)
    is_labelled = bool(data.concepts) or any(note.data.ListFields() for note in item.annotations)
    counts["unlabeled_inputs_count"] = int(not is_labelled)
    return counts


def _count_region(counts: Counter[str], region: resources_pb2.Region) -> None:
    counts["regions_count"] += 1
    counts["positive_region_tags_count"] += len(_positive(region.data.concepts))
    for shape, count in _SHAPES.items():
        counts[count] += int(region.region_info.HasField(shape))


def _of_concepts(data: resources_pb2.Data, notes: Sequence[resources_pb2.Data]) -> Iterator[tuple[str, Counter[str]]]:
    """For each concept that the input carries anywhere: what it adds to that concept's figures."""
    found: dict[str, Counter[str]] = {}
    for concept in _positive(data.concepts):
        found.setdefault(concept.id, Counter())["positive_input_tags_count"] += 1
    for region in (region for note in notes for region in note.regions):
        for concept in _positive(region.data.concepts):
            own = found.setdefault(concept.id, Counter())
            own.update({"regions_count": 1, "positive_region_tags_count": 1})
            own.update({count: 1 for shape, count in _SHAPES.items() if region.region_info.HasField(shape)})
    for frame in (frame for note in notes for frame in note.frames):
        for concept in _positive(frame.data.concepts):
            found.setdefault(concept.id, Counter())["positive_frame_tags_count"] += 1
    for concept_id, counts in found.items():
        counts["inputs_count"] = 1
        counts["region_inputs_count"] = int(counts["regions_count"] > 0)
        yield concept_id, counts


def _positive(concepts: Sequence[resources_pb2.Concept]) -> list[resources_pb2.Concept]:
    return [concept for concept in concepts if concept.value > 0]
