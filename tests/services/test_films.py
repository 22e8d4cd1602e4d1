"""Predictions frame by frame: how often, within which bounds, and what an answer leaves out."""

import time
from pathlib import Path

import numpy as np
import pytest

from lehr.errors import InvalidPrediction, TooLarge
from lehr.learn.data.video import FORMATS, VideoFrame, VideoLimits
from lehr.protocol import resources_pb2 as r
from lehr.protocol.structs import to_struct
from lehr.services.films import MAX_FRAMES, predicted, sample_ms_of
from lehr.services.media import MAX_BYTES
from lehr.services.predict import VIDEO_SECONDS
from lehr.serving.decoders import Bounds

DOCS = Path(__file__).parents[2] / "docs" / "videos.md"


def asks(**params) -> r.Model:
    made = r.Model()
    made.model_version.output_info.params.CopyFrom(to_struct(params))
    return made


def configured(sample_ms: int) -> r.Model:
    config = r.OutputConfig(sample_ms=sample_ms)
    return r.Model(model_version=r.ModelVersion(output_info=r.OutputInfo(output_config=config)))


@pytest.mark.parametrize(
    ("asked", "own", "app", "expected"),
    [
        (r.Model(), r.Model(), r.App(), 1000),
        (r.Model(), r.Model(), r.App(sample_ms=250), 250),
        (r.Model(), configured(400), r.App(sample_ms=250), 400),
        (asks(sample_ms=100.0), configured(400), r.App(sample_ms=250), 100),
        (r.Model(output_info=r.OutputInfo(output_config=r.OutputConfig(sample_ms=7))), configured(400), r.App(), 7),
    ],
)
def test_the_request_says_how_often_then_the_version_then_the_app(asked, own, app, expected):
    assert sample_ms_of(asked, own, app) == expected


@pytest.mark.parametrize("value", [-1, 1.5, "often", True, float("nan"), 1e12])
def test_a_distance_that_cannot_be_meant_is_refused(value):
    with pytest.raises(InvalidPrediction, match=r"a whole number from 1 to 3,600,000; given"):
        sample_ms_of(asks(sample_ms=value), r.Model(), r.App())


def parts(*sizes: int):
    """Batches of frames, ten a second."""
    number = 0
    for size in sizes:
        numbers = range(number, number + size)
        pixels = np.zeros((4, 4, 3), np.uint8)
        yield [VideoFrame(index=n, time_ms=100 * n + 50, number=3 * n, pixels=pixels) for n in numbers]
        number += size


def test_frames_in_which_nothing_is_found_are_left_out_and_the_others_keep_their_moments():
    empty, asked = r.Data(), []
    some = r.Data(regions=[r.Region(id="box")])

    def tell(pictures):
        asked.append(len(pictures))
        return [empty, some] * (len(pictures) // 2)

    data = predicted(parts(4, 2), tell, time.monotonic() + 60)
    assert asked == [4, 2]
    assert [(f.frame_info.index, f.frame_info.time, f.frame_info.number) for f in data.frames] == [
        (1, 150, 3),
        (3, 350, 9),
        (5, 550, 15),
    ]


def test_past_the_time_a_sentence_says_how_far_it_came_and_the_decoder_is_let_go():
    frames = parts(2, 2)
    with pytest.raises(TooLarge, match=r"2 frames were predicted in 0 seconds.* Raise sample_ms"):
        predicted(frames, lambda pictures: [r.Data()] * len(pictures), time.monotonic() - 1)
    assert not list(frames)


def test_the_docs_state_the_limits_as_they_are():
    limits, text = VideoLimits(), DOCS.read_text()
    assert limits.max_bytes == MAX_BYTES
    for stated in (
        f"{limits.max_bytes >> 20} MiB",
        f"{limits.max_seconds:,.0f} seconds",
        f"{limits.max_frames:,}",
        f"{limits.max_pixels:,}",
        f"{limits.max_side:,} on a side",
        f"one answer | {MAX_FRAMES:,}",
        f"request | {VIDEO_SECONDS:.0f} seconds",
        f"one video | {Bounds().video_cpu_seconds:.0f} seconds",
        f"{', '.join(FORMATS[:-1])} and {FORMATS[-1]}",
    ):
        assert stated in text, stated
