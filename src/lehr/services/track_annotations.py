"""What was annotated in the frames of a video, in their order: along tracks, of one kind, from a moment on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from lehr.errors import InvalidSearch
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.services.concepts import rename_labels
from lehr.services.regions import labels_in
from lehr.services.tracks import video_of
from lehr.store import annotations as annotation_rows
from lehr.store.db import Database

MAX_FRAMES = 60
"""Frames in one answer, also where a search does not say."""
MAX_DURATION_MS = 3000
"""Stretch of the video in one answer, also where a search does not say."""
SHAPES = {
    resources_pb2.BOUNDING_BOX: "bounding_box",
    resources_pb2.POLYGON: "polygon",
    resources_pb2.POINT: "point",
    resources_pb2.SPAN: "span",
    resources_pb2.MASK: "mask",
}


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Which annotations of a video are wanted; what is empty or 0 asks for nothing."""

    input_id: str
    track_ids: Sequence[str] = ()
    number_from: int = 0
    """First frame, by number in the video."""
    ms_from: int = 0
    """First moment, in milliseconds."""
    kind: int = resources_pb2.ANNOTATION_DATA_TYPE_NOT_SET
    max_frames: int = 0
    max_duration: int = 0
    """In milliseconds, from the first moment or frame that was asked for."""
    worker: resources_pb2.Worker | None = None
    min_score: float = 0.0
    """Of what a model found: the least value of its regions."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """What one annotation says of one frame."""

    ms: float
    number: int
    annotation: resources_pb2.Annotation
    is_last_of_frame: bool = True


@dataclass(frozen=True, kw_only=True)
class TrackAnnotations:
    """Needs only the store."""

    db: Database

    def search(self, ref: AppRef, wanted: Stretch) -> list[resources_pb2.Annotation]:
        """A short stretch at once: at most 60 frames and 3 seconds.

        Raises NotFound, InvalidAnnotation, or InvalidSearch for more.
        """
        _check("max_frames", wanted.max_frames, MAX_FRAMES)
        _check("max_duration", wanted.max_duration, MAX_DURATION_MS)
        bounded = replace(
            wanted,
            max_frames=wanted.max_frames or MAX_FRAMES,
            max_duration=wanted.max_duration or MAX_DURATION_MS,
        )
        return [shot.annotation for shot in self.stream(ref, bounded)]

    def stream(self, ref: AppRef, wanted: Stretch) -> Iterator[Shot]:
        """As long a stretch as is asked for, in the order of the frames. Raises NotFound or InvalidAnnotation."""
        with self.db.read() as tx:
            info = video_of(tx, ref, wanted.input_id)
            shots = sorted(_shots(tx, ref, wanted, info.fps), key=lambda shot: shot.ms)
            shots = _bounded(shots, wanted, info.fps)
            rename_labels(tx, ref, [label for shot in shots for label in labels_in(shot.annotation.data)])
        for shot, following in zip(shots, [*shots[1:], None], strict=True):
            yield replace(shot, is_last_of_frame=following is None or following.number != shot.number)


def _check(name: str, value: int, most: int) -> None:
    if value > most:
        raise InvalidSearch(
            f"{name} is at most {most} in one answer; given {value}. StreamAnnotations has no such limit."
        )


def _shots(tx: Connection, ref: AppRef, wanted: Stretch, fps: float) -> Iterator[Shot]:
    """Every frame of every annotation that fits, each with what of it fits."""
    for note in annotation_rows.of_inputs(tx, ref, [wanted.input_id])[wanted.input_id]:
        if not _is_by(note, wanted.worker):
            continue
        for frame in note.data.frames:
            kept = _fitting(frame, wanted, is_by_model=bool(note.model_version_id))
            if kept is None:
                continue
            info = frame.frame_info
            ms = float(info.time) or (1000 * info.number / fps if fps else 0.0)
            part = resources_pb2.Annotation()
            part.CopyFrom(note)
            part.data.CopyFrom(resources_pb2.Data(frames=[kept]))
            yield Shot(ms=ms, number=info.number or int(ms * fps / 1000 + 1e-6), annotation=part)


def _is_by(note: resources_pb2.Annotation, worker: resources_pb2.Worker | None) -> bool:
    """Whether the worker made it: a model version, a workflow version or a user, whichever is named."""
    if worker is None:
        return True
    if model_version := worker.model.model_version.id:
        return note.model_version_id == model_version
    if workflow_version := worker.workflow.version.id:
        return note.worker.workflow.version.id == workflow_version
    return not worker.user.id or (note.user_id == worker.user.id and not note.model_version_id)


def _fitting(frame: resources_pb2.Frame, wanted: Stretch, *, is_by_model: bool) -> resources_pb2.Frame | None:
    """The frame with only what is asked for; None where nothing of it is."""
    if not wanted.track_ids and not wanted.kind and not (is_by_model and wanted.min_score):
        return frame
    kept = resources_pb2.Frame(id=frame.id, frame_info=frame.frame_info)
    if wanted.kind in (resources_pb2.TAG, 0) and not wanted.track_ids:
        kept.data.concepts.extend(frame.data.concepts)
    kept.data.regions.extend(region for region in frame.data.regions if _fits(region, wanted, is_by_model))
    return kept if kept.data.concepts or kept.data.regions else None


def _fits(region: resources_pb2.Region, wanted: Stretch, is_by_model: bool) -> bool:
    if wanted.track_ids and region.track_id not in wanted.track_ids:
        return False
    if wanted.kind and not (wanted.kind in SHAPES and region.region_info.HasField(SHAPES[wanted.kind])):
        return False
    return not is_by_model or region.value >= wanted.min_score


def _bounded(shots: Sequence[Shot], wanted: Stretch, fps: float) -> list[Shot]:
    """From the first frame that was asked for, as many frames and as long as was asked for."""
    begin = max(float(wanted.ms_from), 1000 * wanted.number_from / fps if fps else 0.0)
    end = begin + wanted.max_duration if wanted.max_duration else float("inf")
    kept: list[Shot] = []
    numbers: set[int] = set()
    for shot in shots:
        if shot.number < wanted.number_from or shot.ms < wanted.ms_from:
            continue
        if shot.ms >= end or (wanted.max_frames and len(numbers | {shot.number}) > wanted.max_frames):
            break
        numbers.add(shot.number)
        kept.append(shot)
    return kept
