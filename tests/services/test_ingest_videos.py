"""Videos that come in: looked at, described, with a frame to show; and files that are none."""

import io

import numpy as np
import pytest
from films import BLUE, GREEN, RED, colours, counting, film
from PIL import Image

from lehr.learn.data.video import VideoLimits
from lehr.protocol import resources_pb2 as r
from lehr.services.ingest import KIND, Ingest
from lehr.services.inputs import Inputs, Upload
from lehr.services.media import HostedMedia, shown
from lehr.serving.decoders import Bounds, DecoderPool
from lehr.serving.fetch import Fetcher

BASE = "http://lehr:8080"


@pytest.fixture(scope="module")
def decoders():
    with DecoderPool(1, bounds=Bounds(video_limits=VideoLimits(max_seconds=20))) as pool:
        yield pool


@pytest.fixture
def processed(db, blobs, queue, decoders, ref):
    """Posts videos, runs their job as a worker would, and reads everything back."""
    inputs = Inputs(db=db, blobs=blobs, queue=queue)
    ingest = Ingest(db=db, blobs=blobs, queue=queue, decoders=decoders, fetcher=Fetcher())

    def process(*contents: bytes) -> list[r.Input]:
        orders = [r.Input(data=r.Data(video=r.Video(base64=content))) for content in contents]
        done = inputs.post(ref, "ana", Upload(inputs=orders))
        job = queue.claim("worker", kinds=[KIND])
        ingest.run(job)
        with db.write() as tx:
            queue.finish(tx, job)
        return [inputs.get(ref, each.id) for each in done.inputs]

    return process


def test_a_video_is_described_and_shows_the_frame_in_its_middle(processed, db, blobs, ref, other_ref):
    data = colours((RED, 1), (GREEN, 2), (BLUE, 1))
    [done] = processed(data)
    assert done.status.code == 30000
    seen = shown(done, ref, BASE).data.video
    info = seen.video_info
    assert (info.width, info.height, info.fps, info.video_format, info.frame_count) == (176, 144, 10, "MP4", 40)
    assert info.duration_seconds == pytest.approx(4)
    assert not seen.base64
    assert seen.url == f"{BASE}/hosted/orig/{seen.hosted.suffix}"
    assert seen.thumbnail_url == f"{BASE}/hosted/small/{seen.hosted.suffix}"
    assert list(seen.hosted_thumbnail.sizes) == ["small"]
    media, sha = HostedMedia(db=db), seen.hosted.suffix.rsplit("/", 1)[1]
    original, small = media.find(ref, sha, "orig"), media.find(ref, sha, "small")
    assert (blobs.read(original.sha), original.content_type, small.content_type) == (data, "video/mp4", "image/jpeg")
    picture = np.asarray(Image.open(io.BytesIO(blobs.read(small.sha))))
    assert np.abs(picture.mean((0, 1)) - GREEN).max() < 14


def test_every_kind_that_is_promised_is_taken(processed):
    kinds = ("AVI", "MP4", "WMV", "MOV", "GIF", "3GPP", "MKV", "WEBM")
    done = processed(*(film(counting(6), kind=kind) for kind in kinds))
    assert [each.data.video.video_info.video_format for each in done] == list(kinds)


def test_what_is_no_video_or_too_long_says_so(processed):
    still, long = io.BytesIO(), film(counting(30), fps=1)
    Image.new("RGB", (8, 8)).save(still, "PNG")
    picture, cut, too_long, good = processed(still.getvalue(), film(counting(9))[:900], long, film(counting(2)))
    assert [each.status.code for each in (picture, cut, too_long, good)] == [30101, 30101, 30105, 30000]
    assert "not a video that can be read; accepted are MP4" in picture.status.details
    assert "damaged or" in cut.status.details
    assert "30 seconds long; at most 20" in too_long.status.details
