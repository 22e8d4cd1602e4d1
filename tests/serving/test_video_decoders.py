"""Videos through decoder processes: the same frames as in-process, pictures never wait, everything is bounded."""

import os
import signal
import time
from functools import partial

import numpy as np
import pytest
from films import BLUE, GREEN, RED, colours, counting, film

from lehr.errors import Busy, TooLarge, UndecodableImage
from lehr.learn.data import film as in_process
from lehr.learn.data.video import VideoLimits
from lehr.serving.decoders import Bounds, DecoderPool


@pytest.fixture(scope="module")
def pool():
    with DecoderPool(1) as pool:
        yield pool


def test_a_decoder_answers_what_the_functions_answer(pool):
    data = colours((RED, 1), (GREEN, 2), (BLUE, 1))
    assert pool.probe_video(data) == in_process.probe(data)
    assert pool.inspect_video(data, 64) == in_process.inspect(data, 64)
    far = [frame for batch in pool.frames(data, 250, shorter_side=32) for frame in batch]
    near = list(in_process.sampled(data, 250, shorter_side=32))
    assert [(f.index, f.time_ms, f.number) for f in far] == [(f.index, f.time_ms, f.number) for f in near]
    for one, other in zip(far, near, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        assert not one.pixels.flags.writeable
    np.testing.assert_array_equal(pool.frame(data, 1500).pixels, in_process.frame_at(data, 1500).pixels)


def test_many_frames_come_in_several_batches(pool):
    data = film(counting(60), fps=10)
    batches = list(pool.frames(data, 50))
    assert sum(map(len, batches)) == 120
    assert max(map(len, batches)) <= 32


def test_a_video_that_is_none_is_refused_and_the_decoder_goes_on(pool):
    asked = (
        pool.probe_video,
        pool.inspect_video,
        partial(pool.frame, time_ms=0),
        lambda film: list(pool.frames(film, 9)),
    )
    for ask in asked:
        with pytest.raises(UndecodableImage, match="not a video that can be read"):
            ask(b"no film")
    assert pool.probe_video(film(counting(3))).frame_count == 3


def test_pictures_do_not_wait_for_a_video_and_who_stops_listening_frees_its_decoder(pool, photo):
    data = film(counting(60), fps=10)
    frames = pool.frames(data, 20)
    next(frames)
    began = time.monotonic()
    assert pool.decode(photo()).width == 320
    assert time.monotonic() - began < 10
    frames.close()
    assert len([frame for batch in pool.frames(data, 1000) for frame in batch]) == 6


def test_a_decoder_killed_in_the_middle_is_a_sentence_and_is_replaced(pool):
    data = film(counting(60), fps=10)
    frames = pool.frames(data, 1)
    next(frames)
    for pid in pool.process_ids():
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(UndecodableImage, match="The video could not be decoded: its decoder ended with code -9"):
        list(frames)
    assert pool.probe_video(data).frame_count == 60


def test_computing_time_is_bounded():
    minute = film(counting(60), fps=1)
    with (
        DecoderPool(1, bounds=Bounds(video_cpu_seconds=0.01)) as pool,
        pytest.raises(UndecodableImage, match=r"The video could not be decoded within 0\.01 seconds"),
    ):
        list(pool.frames(minute, 1))  # 60,000 frames: the kernel looks at whole seconds


def test_too_many_bytes_are_refused_before_they_travel():
    with DecoderPool(1, bounds=Bounds(video_limits=VideoLimits(max_bytes=50))) as pool:
        with pytest.raises(TooLarge, match="at most 50"):
            list(pool.frames(film(counting(3)), 1))
        assert not pool.process_ids()


def test_closing_the_pool_ends_a_stream_with_busy():
    pool = DecoderPool(1)
    frames = pool.frames(film(counting(60), fps=10), 1)
    next(frames)
    pool.close()
    with pytest.raises(Busy, match="shutting down"):
        list(frames)
