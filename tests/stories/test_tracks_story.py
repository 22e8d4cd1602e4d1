"""Annotating a video along tracks, over both faces: tracks, what is seen of them in frames, and who saw it."""

from __future__ import annotations

import base64
import json

import pytest
from clarifai_grpc.grpc.api import resources_pb2 as r
from clarifai_grpc.grpc.api import service_pb2
from clarifai_grpc.grpc.api.status import status_code_pb2 as codes
from faces import FACES, GRPC, Client
from films import counting, film
from lehr_server import TOKEN, wait_until


@pytest.mark.parametrize("face", FACES)
def test_a_video_is_annotated_along_tracks(server, face):
    app_id = f"tracks-{face.lower()}"
    Client(face, server.base, TOKEN).must("PostApps", apps=[r.App(id=app_id)])
    client = Client(face, server.base, TOKEN, app_id)
    video = r.Input(id="street", data=r.Data(video=r.Video(base64=film(counting(50), fps=10))))
    client.must("PostInputs", inputs=[video])
    wait_until(lambda: client.must("GetInputCount").counts.processed == 1, what="processing the video")

    order = r.AnnotationTrack(id="car-1", concept=r.Concept(id="car", value=1), start_frame_ms=0, end_frame_ms=4000)
    [made] = client.must("PostAnnotationTracks", input_id="street", annotation_tracks=[order]).annotation_tracks
    assert (made.end_frame_nr, made.status.code) == (40, codes.ANNOTATION_TRACK_IDLE)
    client.must("PostAnnotations", annotations=[seen(ms) for ms in range(0, 4100, 100)])

    wanted = {"input_id": "street", "track_id": "car-1", "frame_time_start": 1000, "max_frames": 5}
    found = client.must("PostTrackAnnotationsSearches", **wanted, annotation_type=r.BOUNDING_BOX).annotations
    assert [note.data.frames[0].frame_info.time for note in found] == [1000, 1100, 1200, 1300, 1400]
    assert found[0].data.frames[0].data.regions[0].track_id == "car-1"
    assert streamed(client, input_id="street", track_ids=["car-1"]) == list(range(0, 4100, 100))

    change = r.AnnotationTrack(id="car-1", status={"code": codes.ANNOTATION_TRACK_APPROVED})
    client.must("PatchAnnotationTracks", input_id="street", annotation_tracks=[change], action="overwrite")
    [listed] = client.must("ListAnnotationTracks", input_id="street").annotation_tracks
    assert (listed.status.code, listed.end_frame_ms) == (codes.ANNOTATION_TRACK_APPROVED, 4000)
    assert [worker.user.id for worker in client.must("ListAnnotationWorkers").workers] == ["lehr"]

    uri = client.must("GetInputVideoManifest", input_id="street").manifest_url
    assert b"<BaseURL>" in base64.b64decode(uri.partition(",")[2])
    refused = client.ask("PostTrackAnnotationsSearches", input_id="street", max_frames=61)
    assert "max_frames is at most 60" in refused.status.details

    client.must("DeleteAnnotationTracks", input_id="street", ids=["car-1"])
    assert not client.must("ListAnnotationTracks", input_id="street").annotation_tracks
    assert not client.must("ListAnnotations", input_ids=["street"]).annotations
    assert client.ask("DeleteAnnotationTracks", input_id="street").status.code != codes.SUCCESS


def seen(ms: int) -> r.Annotation:
    """Where the car is in the frame of a moment."""
    left = ms / 10_000
    box = r.BoundingBox(top_row=0.4, left_col=left, bottom_row=0.6, right_col=left + 0.2)
    region = r.Region(region_info=r.RegionInfo(bounding_box=box), track_id="car-1")
    region.data.concepts.add(id="car", value=1)
    frame = r.Frame(frame_info=r.FrameInfo(time=ms), data=r.Data(regions=[region]))
    return r.Annotation(input_id="street", data=r.Data(frames=[frame]))


def streamed(client: Client, **wanted) -> list[int]:
    """The moments that StreamAnnotations tells, each as its frame's last."""
    request = service_pb2.StreamAnnotationsRequest(user_app_id=client.who, **wanted)
    if client.face == GRPC:
        answers = client.stub.StreamAnnotations(request, metadata=(("authorization", f"Key {client.token}"),))
        told = [(each.annotation.data.frames[0].frame_info.time, each.frame_fully_processed) for each in answers]
    else:
        path = f"/v2/users/lehr/apps/{client.who.app_id}/inputs/street/track_annotations/searches/stream"
        with client.http.stream("POST", path, json={"track_ids": list(request.track_ids)}) as response:
            lines = [json.loads(line) for line in response.iter_lines() if line.strip()]
        told = [
            (line["annotation"]["data"]["frames"][0]["frame_info"]["time"], line["frame_fully_processed"])
            for line in lines
        ]
    assert all(is_last for _, is_last in told)
    return [int(ms) for ms, _ in told]
