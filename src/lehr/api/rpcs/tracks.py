"""RPCs of videos: tracks, what was annotated along them, and how a player streams the video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lehr.api.calls import Call
from lehr.protocol import service_pb2, status_pb2
from lehr.services.manifests import Manifests
from lehr.services.paging import paging
from lehr.services.track_annotations import Stretch, TrackAnnotations
from lehr.services.tracks import Tracks


@dataclass(frozen=True, kw_only=True)
class TrackRpcs:
    """What is followed through a video."""

    tracks: Tracks
    track_annotations: TrackAnnotations
    manifests: Manifests

    def PostAnnotationTracks(
        self, call: Call, request: service_pb2.PostAnnotationTracksRequest
    ) -> service_pb2.MultiAnnotationTrackResponse:
        """Adds tracks to a video, all or none."""
        made = self.tracks.create(call.needed_app(), request.input_id, request.annotation_tracks)
        return service_pb2.MultiAnnotationTrackResponse(annotation_tracks=made)

    def ListAnnotationTracks(
        self, call: Call, request: service_pb2.ListAnnotationTracksRequest
    ) -> service_pb2.MultiAnnotationTrackResponse:
        """Tracks of a video, oldest first."""
        page = paging(request.page, request.per_page)
        found = self.tracks.list_of(call.needed_app(), request.input_id, page, ids=request.ids)
        return service_pb2.MultiAnnotationTrackResponse(annotation_tracks=found)

    def PatchAnnotationTracks(
        self, call: Call, request: service_pb2.PatchAnnotationTracksRequest
    ) -> service_pb2.MultiAnnotationTrackResponse:
        """Changes tracks."""
        done = self.tracks.patch(call.needed_app(), request.input_id, request.annotation_tracks, request.action)
        return service_pb2.MultiAnnotationTrackResponse(annotation_tracks=done)

    def DeleteAnnotationTracks(
        self, call: Call, request: service_pb2.DeleteAnnotationTracksRequest
    ) -> status_pb2.BaseResponse:
        """Deletes tracks with what was annotated along them."""
        self.tracks.delete(call.needed_app(), request.input_id, request.ids)
        return status_pb2.BaseResponse()

    def PostTrackAnnotationsSearches(
        self, call: Call, request: service_pb2.PostTrackAnnotationsSearchesRequest
    ) -> service_pb2.MultiAnnotationResponse:
        """What was annotated in a short stretch of a video, frame by frame."""
        wanted = _stretch(request, [request.track_id] if request.track_id else [])
        found = self.track_annotations.search(call.needed_app(), wanted)
        return service_pb2.MultiAnnotationResponse(annotations=found)

    def StreamAnnotations(
        self, call: Call, request: service_pb2.StreamAnnotationsRequest
    ) -> Iterator[service_pb2.SingleStreamAnnotationResponse]:
        """The same of as long a stretch as is asked for, one by one."""
        wanted = _stretch(request, request.track_ids, min_score=request.min_prediction_score)
        for shot in self.track_annotations.stream(call.needed_app(), wanted):
            yield service_pb2.SingleStreamAnnotationResponse(
                annotation=shot.annotation, frame_fully_processed=shot.is_last_of_frame
            )

    def GetInputVideoManifest(
        self, call: Call, request: service_pb2.GetVideoManifestRequest
    ) -> service_pb2.GetVideoManifestResponse:
        """How a player streams a video."""
        found = self.manifests.of_video(call.needed_app(), request.input_id, call.base_url)
        return service_pb2.GetVideoManifestResponse(manifest_url=found)


def _stretch(request: Any, track_ids: Any, **more: Any) -> Stretch:
    """What both requests for annotations of frames ask in the same fields."""
    return Stretch(
        input_id=request.input_id,
        track_ids=tuple(track_ids),
        number_from=request.frame_number_start,
        ms_from=request.frame_time_start,
        kind=request.annotation_type,
        max_frames=request.max_frames,
        max_duration=request.max_duration,
        worker=request.worker if request.HasField("worker") else None,
        **more,
    )
