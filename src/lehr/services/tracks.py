"""Tracks: one thing followed through a video. What is seen of it in a frame is an annotation with the track's id.

A track's first and last frame are known by number and by time; whichever a client leaves out follows from the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from lehr.errors import InvalidAnnotation, InvalidRequest, NotFound
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef, checked_id, new_id
from lehr.protocol.patch import MERGE, OVERWRITE, checked_action, patched
from lehr.protocol.statuses import describe, status
from lehr.services.batches import chunks
from lehr.services.concepts import ensure_concepts, rename_labels
from lehr.services.paging import MAX_PER_PAGE, Paging
from lehr.store import annotations as annotation_rows
from lehr.store import inputs as input_rows
from lehr.store import tracks as rows
from lehr.store.db import Database

MAX_TRACKS = 1000
"""Tracks in one request."""
STATUSES = range(status_code_pb2.ANNOTATION_TRACK_IDLE, status_code_pb2.ANNOTATION_TRACK_FAILED + 1)
PAIRS = (("start_frame_nr", "start_frame_ms"), ("end_frame_nr", "end_frame_ms"))


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """Needs only the store."""

    db: Database

    def create(
        self, ref: AppRef, input_id: str, orders: Sequence[resources_pb2.AnnotationTrack]
    ) -> list[resources_pb2.AnnotationTrack]:
        """Adds tracks to a video, all or none. Raises InvalidAnnotation, InvalidConcept, Duplicate or NotFound."""
        _check_number(orders)
        with self.db.write() as tx:
            input_rows.lock(tx, ref)
            info = video_of(tx, ref, input_id)
            made = [_made(order, input_id, info) for order in orders]
            ensure_concepts(tx, ref, [track.concept for track in made if track.HasField("concept")])
            rows.insert(tx, ref, input_id, made)
        return made

    def list_of(
        self, ref: AppRef, input_id: str, paging: Paging, *, ids: Sequence[str] = ()
    ) -> list[resources_pb2.AnnotationTrack]:
        """A page of a video's tracks, oldest first; only these ids where there are any. Raises NotFound."""
        if len(ids) > MAX_PER_PAGE:
            raise InvalidRequest(f"A list can be asked for at most {MAX_PER_PAGE} ids; this request names {len(ids)}.")
        with self.db.read() as tx:
            video_of(tx, ref, input_id)
            found = rows.page(tx, ref, input_id, ids=ids, page=paging.page, per_page=paging.per_page)
            rename_labels(tx, ref, [track.concept for track in found if track.HasField("concept")])
        return found

    def patch(
        self, ref: AppRef, input_id: str, changes: Sequence[resources_pb2.AnnotationTrack], action: str
    ) -> list[resources_pb2.AnnotationTrack]:
        """Changes what is said of tracks, all or none. Raises NotFound, InvalidAnnotation, or InvalidRequest."""
        action = checked_action(action or OVERWRITE, (OVERWRITE, MERGE))
        _check_number(changes)
        with self.db.write() as tx:
            input_rows.lock(tx, ref)
            info = video_of(tx, ref, input_id)
            known = rows.get_many(tx, ref, [change.id for change in changes], input_id=input_id)
            done = [_changed(known.get(change.id), change, action, input_id, info) for change in changes]
            ensure_concepts(tx, ref, [track.concept for track in done if track.HasField("concept")])
            rows.update(tx, ref, done)
        return done

    def delete(self, ref: AppRef, input_id: str, ids: Sequence[str]) -> int:
        """Deletes tracks with what was annotated along them; ids that do not exist are passed over.

        Without an input, tracks of any video of the app. Raises InvalidRequest without ids.
        """
        if not ids:
            raise InvalidRequest("Name the tracks that are to be deleted: `ids` is empty.")
        gone = 0
        with self.db.write() as tx:
            input_rows.lock(tx, ref)
            for some in chunks(list(dict.fromkeys(ids))):
                found = rows.get_many(tx, ref, some, input_id=input_id)
                _delete_along(tx, ref, found)
                gone += rows.delete(tx, ref, list(found)) if found else 0
        return gone


def video_of(tx: Connection, ref: AppRef, input_id: str) -> resources_pb2.VideoInfo:
    """What the input's video is. Raises NotFound, and InvalidAnnotation for an input that is none."""
    found = input_rows.get(tx, ref, input_id) if input_id else None
    if found is None:
        raise NotFound(f"There is no input {input_id!r} in app {ref.app_id!r}.")
    if not found.data.HasField("video"):
        raise InvalidAnnotation(f"Input {input_id!r} is no video; only videos have tracks.")
    return found.data.video.video_info


def track_ids_in(data: resources_pb2.Data) -> set[str]:
    """The tracks that an annotation belongs to."""
    regions = [*data.regions, *(region for frame in data.frames for region in frame.data.regions)]
    return {region.track_id for region in regions} - {""}


def _delete_along(tx: Connection, ref: AppRef, tracks: dict[str, resources_pb2.AnnotationTrack]) -> None:
    """Annotations that speak of the tracks and of no other one."""
    for input_id in sorted({track.input_id for track in tracks.values()}):
        notes = annotation_rows.of_inputs(tx, ref, [input_id])[input_id]
        along = [note.id for note in notes if (of := track_ids_in(note.data)) and of <= tracks.keys()]
        for some in chunks(along):
            annotation_rows.delete(tx, ref, input_ids=[input_id], ids=some)


def _check_number(tracks: Sequence[resources_pb2.AnnotationTrack]) -> None:
    if not 1 <= len(tracks) <= MAX_TRACKS:
        raise InvalidAnnotation(f"A request carries 1 to {MAX_TRACKS} annotation tracks; this one has {len(tracks)}.")


def _made(
    order: resources_pb2.AnnotationTrack, input_id: str, info: resources_pb2.VideoInfo
) -> resources_pb2.AnnotationTrack:
    track = resources_pb2.AnnotationTrack()
    track.CopyFrom(order)
    for name in ("created_at", "modified_at"):
        track.ClearField(name)
    track.id = checked_id(track.id or new_id(), "Annotation track", refuse=InvalidAnnotation)
    _check_input(track, input_id)
    track.input_id = input_id
    track.status.CopyFrom(status(_checked_status(track.status.code or status_code_pb2.ANNOTATION_TRACK_IDLE)))
    _complete(track, info)
    return track


def _changed(
    stored: resources_pb2.AnnotationTrack | None,
    change: resources_pb2.AnnotationTrack,
    action: str,
    input_id: str,
    info: resources_pb2.VideoInfo,
) -> resources_pb2.AnnotationTrack:
    if stored is None:
        raise NotFound(f"There is no annotation track {change.id!r} of input {input_id!r}.")
    _check_input(change, input_id)
    track = patched(stored, change, action)
    track.created_at.CopyFrom(stored.created_at)
    track.status.CopyFrom(status(_checked_status(track.status.code)))
    for number, time in PAIRS:  # one of them given: the other follows anew
        if getattr(change, number) and not getattr(change, time):
            track.ClearField(time)
        elif getattr(change, time) and not getattr(change, number):
            track.ClearField(number)
    _complete(track, info)
    return track


def _check_input(track: resources_pb2.AnnotationTrack, input_id: str) -> None:
    if track.input_id not in ("", input_id):
        raise InvalidAnnotation(
            f"Annotation track {track.id!r} is of input {track.input_id!r}, but was sent to input {input_id!r}."
        )


def _checked_status(code: int) -> int:
    if code in STATUSES:
        return code
    possible = ", ".join(f"{each} ({describe(each)})" for each in STATUSES)
    raise InvalidAnnotation(f"An annotation track cannot have the status {code}; there are: {possible}.")


def _complete(track: resources_pb2.AnnotationTrack, info: resources_pb2.VideoInfo) -> None:
    """Fills in numbers from times and times from numbers. Raises InvalidAnnotation for what is not in the video."""
    for number, time in PAIRS:
        if info.fps and getattr(track, number) and not getattr(track, time):
            setattr(track, time, round(1000 * getattr(track, number) / info.fps))
        elif info.fps and getattr(track, time) and not getattr(track, number):
            setattr(track, number, int(getattr(track, time) * info.fps / 1000 + 1e-6))
    for unit, start, end in (
        ("frame number", track.start_frame_nr, track.end_frame_nr),
        ("millisecond", track.start_frame_ms, track.end_frame_ms),
    ):
        if end and start > end:
            raise InvalidAnnotation(
                f"Annotation track {track.id!r} begins at {unit} {start}, after its end at {end}; both are inclusive."
            )
    length = max(1000 * info.duration_seconds, 1.0)
    if info.duration_seconds and max(track.start_frame_ms, track.end_frame_ms) > length:
        raise InvalidAnnotation(
            f"Annotation track {track.id!r} lies at {max(track.start_frame_ms, track.end_frame_ms)} ms; the video is "
            f"{length:.0f} ms long."
        )
