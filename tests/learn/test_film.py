"""Frames of videos: which one is on screen when, whatever the container; and files that are none."""

import contextlib
import io
import random

import numpy as np
import pytest
from films import BLUE, GREEN, KINDS, RED, colours, counting, film, number_in, plain
from PIL import Image

from lehr.errors import TooLarge, UndecodableImage
from lehr.learn.data import film as films
from lehr.learn.data.video import VideoLimits, sample_time

NUM_FRAMES, FPS = 50, 10


@pytest.fixture(scope="module", params=KINDS)
def counted(request):
    """A video of every kind whose frames tell their number, and its kind."""
    return film(counting(NUM_FRAMES), fps=FPS, kind=request.param), request.param


def test_a_video_says_what_it_is(counted):
    data, kind = counted
    info = films.probe(data)
    assert (info.format, info.width, info.height, info.frame_count) == (kind, 176, 144, NUM_FRAMES)
    assert info.fps == pytest.approx(FPS, rel=0.01)
    assert info.duration_seconds == pytest.approx(NUM_FRAMES / FPS, abs=0.02)
    assert info.bit_rate == pytest.approx(8 * len(data) / info.duration_seconds, rel=0.5)


@pytest.mark.parametrize("sample_ms", [70, 400, 1000, 3000])
def test_samples_are_the_frames_on_screen_in_the_middle_of_each_interval(counted, sample_ms):
    data, kind = counted
    found = list(films.sampled(data, sample_ms))
    times = [sample_time(index, sample_ms) for index in range(1000)]
    assert [frame.time_ms for frame in found] == [time for time in times if time < 1000 * NUM_FRAMES / FPS]
    assert [frame.index for frame in found] == list(range(len(found)))
    for frame in found:
        assert frame.number == frame.time_ms * FPS // 1000
        # GIF has few greys
        assert number_in(frame.pixels) == pytest.approx(frame.number, abs=15 if kind == "GIF" else 1.5)


def test_seeking_finds_the_very_frames_that_decoding_throughout_finds(counted):
    data, _ = counted
    for frame in films.sampled(data, 300):
        sought = films.frame_at(data, frame.time_ms)
        assert (sought.number, sought.time_ms) == (frame.number, frame.time_ms)
        np.testing.assert_array_equal(sought.pixels, frame.pixels)
        np.testing.assert_array_equal(films.frame_at(data, 0, number=frame.number).pixels, frame.pixels)


def test_far_samples_are_sought_and_are_the_same_frames():
    data = film(counting(60), fps=2)  # 30 s
    sought = list(films.sampled(data, 12_000))
    assert [(frame.time_ms, frame.number) for frame in sought] == [(6_000, 12), (18_000, 36)]
    for frame in sought:
        np.testing.assert_array_equal(frame.pixels, films.frame_at(data, 0, number=frame.number).pixels)


def test_past_the_end_is_the_last_frame_and_a_short_video_has_its_middle():
    data = film(counting(5), fps=FPS)
    assert films.frame_at(data, 10**9).number == 4
    assert films.frame_at(data, 0, number=10**6).number == 4
    for sample_ms in (2_000, 600_000):
        [only] = films.sampled(data, sample_ms)
        assert (only.time_ms, only.number) == (250, 2)


def test_a_long_video_without_key_frames_is_shown_by_an_earlier_frame(monkeypatch):
    monkeypatch.setattr(films, "GLANCE_FRAMES", 10)
    seen = films.inspect(film(counting(60), fps=FPS), 88)
    assert number_in(np.asarray(Image.open(io.BytesIO(seen.thumbnail)))) == pytest.approx(9, abs=2)


def test_frames_are_resized_like_pictures():
    data = colours((RED, 1), (GREEN, 1), (BLUE, 1))
    for frame, colour in zip(films.sampled(data, 1000, shorter_side=48), (RED, GREEN, BLUE), strict=True):
        assert frame.pixels.shape == (48, 59, 3)
        assert np.abs(frame.pixels.mean((0, 1)) - colour).max() < 12
    thumbnail = Image.open(io.BytesIO(films.inspect(data, 88).thumbnail))
    assert (thumbnail.format, thumbnail.size) == ("JPEG", (88, 72))
    assert np.abs(np.asarray(thumbnail).mean((0, 1)) - GREEN).max() < 14


@pytest.mark.parametrize(("rotation", "corner"), [(90, (-5, 5)), (180, (-5, -5)), (-90, (5, -5))])
def test_videos_of_phones_are_turned_upright(rotation, corner):
    """The rotation counts counter-clockwise; the picture is white in its upper left corner alone."""
    picture = plain((0, 0, 0))
    picture[:72, :88] = 255
    data = film([picture] * 3, rotation=rotation)
    frame, info = films.frame_at(data, 0), films.probe(data)
    assert frame.pixels.shape[:2] == (info.height, info.width) == ((144, 176) if rotation == 180 else (176, 144))
    corners = {(y, x): int(frame.pixels[y, x, 0]) for y in (5, -5) for x in (5, -5)}
    assert [place for place, value in corners.items() if value > 200] == [corner]


def test_a_gif_keeps_its_own_pace_and_its_transparency_is_white():
    frames = [Image.new("RGBA", (20, 20), (0, 0, 0, 0)), Image.new("RGBA", (20, 20), (*RED, 255))]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=[300, 700], disposal=2)
    found = list(films.sampled(out.getvalue(), 200))
    assert [frame.number for frame in found] == [0, 1, 1, 1, 1]
    assert found[0].pixels.mean() > 250
    assert np.abs(found[1].pixels.mean((0, 1)) - RED).max() < 12


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "an empty file, not a video"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "not a video that can be read; accepted are MP4, .* and GIF"),
        (b"\0\0\0\x18ftypheic" + bytes(100), "not a video"),
        (b"\0\0\0\x18ftypisom" + bytes(100), "The MP4 file cannot be read as a video"),
        (b"GIF89a" + bytes(100), "The GIF file"),
    ],
)
def test_what_is_no_video_is_refused_in_a_sentence(data, sentence):
    with pytest.raises(UndecodableImage, match=sentence):
        films.probe(data)


def test_a_video_cut_off_or_damaged_gives_what_can_be_seen_or_a_sentence(counted):
    data, _ = counted
    dice = random.Random(7)
    for number in range(40):
        spoilt = bytearray(data[: dice.randrange(1, len(data))] if number % 2 else data)
        for _ in range(0 if number % 4 == 1 else 20):
            spoilt[dice.randrange(len(spoilt))] = dice.randrange(256)
        with contextlib.suppress(UndecodableImage, TooLarge):  # anything else fails the test
            assert list(films.sampled(bytes(spoilt), 500, limits=VideoLimits(max_pixels=100_000, max_seconds=60)))
            assert films.probe(bytes(spoilt)).frame_count


def test_what_is_too_large_is_refused_before_it_is_decoded():
    data = film(counting(30))
    for limits, sentence in (
        (VideoLimits(max_bytes=100), "at most 100 are accepted"),
        (VideoLimits(max_pixels=10_000), "176 x 144 pixels; at most 10,000"),
        (VideoLimits(max_side=160), "160 on a side"),
        (VideoLimits(max_seconds=2.0), "is 3 seconds long; at most 2"),
        (VideoLimits(max_frames=20), "30 frames; at most 20"),
    ):
        with pytest.raises(TooLarge, match=sentence):
            films.probe(data, limits=limits)
