"""Untrusted videos in, frames out, with PyAV, one frame in memory at a time. Runs in decoder processes.

A frame is on screen from its own time to that of the next one; the frame of a moment is the one on screen then. Damaged
packets are passed over, as players do; a file without one good frame is refused. Pixels are taken as square.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Any, Self

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.error import MemoryError as FFmpegMemoryError
from av.video.frame import VideoFrame as AvFrame
from av.video.stream import VideoStream

from lehr.errors import LehrError, TooLarge, UndecodableImage
from lehr.learn.data.shown import Shown
from lehr.learn.data.video import (
    DEFAULT_VIDEO_LIMITS,
    READERS,
    VideoFrame,
    VideoInfo,
    VideoInspection,
    VideoLimits,
    sample_time,
    video_format,
)

SPARSE_MS = 10_000
"""From this distance between samples on, the file is sought in instead of decoded throughout."""
GLANCE_FRAMES = 1000
"""Frames that are decoded at most for one that is only to be shown."""
_ATTACHED_PICTURE = 0x0400
"""FFmpeg's mark of a stream that is a cover, not a film."""


def probe(data: bytes, *, limits: VideoLimits = DEFAULT_VIDEO_LIMITS) -> VideoInfo:
    """What the file says of itself, checked against the limits. Raises UndecodableImage or TooLarge."""
    with Film(data, limits) as film:
        return film.info


def inspect(data: bytes, longer_side: int, *, limits: VideoLimits = DEFAULT_VIDEO_LIMITS) -> VideoInspection:
    """All that an upload needs: what it is, and the frame in its middle as a small JPEG. Raises as `probe`.

    Of a long video in which nothing can be sought, an earlier frame is shown: an upload must not take minutes.
    """
    with Film(data, limits) as film:
        image = film.glance(film.info.duration_seconds * 500).image
        scale = min(1.0, longer_side / max(image.size))
        small = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=82)
        return VideoInspection(info=film.info, thumbnail=buffer.getvalue())


def sampled(
    data: bytes,
    sample_ms: int,
    *,
    shorter_side: int | None = None,
    max_frames: int | None = None,
    limits: VideoLimits = DEFAULT_VIDEO_LIMITS,
) -> Iterator[VideoFrame]:
    """One frame per `sample_ms` milliseconds, of the middle of each interval; at least one.

    The last interval counts where its middle is still within the video. Raises UndecodableImage or TooLarge, the latter
    also for more than `max_frames`: before anything is decoded where the header says how long the video is.
    """
    with Film(data, limits) as film:
        most = max_frames or limits.max_frames
        _check_number(film.told_ms, sample_ms, most)
        moments = _sparse(film, sample_ms) if sample_ms >= SPARSE_MS else _dense(film, sample_ms)
        for index, (time_ms, shown) in enumerate(moments):
            _check_number(time_ms, sample_ms, most)
            yield shown.told(index, time_ms, shorter_side)


def frame_at(
    data: bytes,
    time_ms: int,
    *,
    number: int = 0,
    shorter_side: int | None = None,
    limits: VideoLimits = DEFAULT_VIDEO_LIMITS,
) -> VideoFrame:
    """The frame on screen at a moment; where that is 0, the one of this number. Past the end: the last frame.

    Raises UndecodableImage or TooLarge.
    """
    with Film(data, limits) as film:
        shown = film.numbered(number) if number and not time_ms else film.at(time_ms)
        return shown.told(0, time_ms or round(shown.time_ms), shorter_side)


class Film:
    """An opened video. Not for two threads."""

    def __init__(self, data: bytes, limits: VideoLimits) -> None:
        """Raises UndecodableImage or TooLarge."""
        if len(data) > limits.max_bytes:
            raise TooLarge(f"The file has {len(data):,} bytes; at most {limits.max_bytes:,} are accepted.")
        self._data, self._limits = data, limits
        self.format = video_format(data)
        try:
            self._open()
        except Exception as error:
            raise self._explained(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._container.close()
        if isinstance(error, Exception):
            raise self._explained(error) from error

    def _open(self) -> None:
        # No protocol at all: a file that names other files or addresses must not have them opened.
        self._container: InputContainer = av.open(  # type: ignore[assignment]  # "r", the default
            io.BytesIO(self._data), format=READERS[self.format], options={"protocol_whitelist": "none"}
        )
        self._stream = _film_in(self._container, self.format)
        context = self._stream.codec_context
        context.thread_count = 1
        context.options = {"max_pixels": str(self._limits.max_pixels)}
        self._check_size(context.width, context.height)
        self._check_length(_seconds(self._stream, self._container), self._stream.frames)
        start = self._stream.start_time
        self._start_ms = _ms(start, self._stream) if start is not None else 0.0

    @cached_property
    def info(self) -> VideoInfo:
        """Read from the header; where that says too little, counted in the packets. Decodes the first frame."""
        first = next(self.shown(), None)
        if first is None:
            raise self._empty()
        seconds = _seconds(self._stream, self._container)
        count = self._stream.frames
        if not count or not seconds or self.format == "GIF":
            count, end_ms = self._counted()
            seconds = end_ms / 1000 or seconds
        self._check_length(seconds, count)
        image = first.image
        rate = self._stream.average_rate or self._stream.guessed_rate
        fps = count / seconds if self.format == "GIF" or not rate else float(rate)
        return VideoInfo(
            format=self.format,
            width=image.width,
            height=image.height,
            fps=fps,
            bit_rate=self._container.bit_rate or round(8 * len(self._data) / seconds),
            frame_count=count,
            duration_seconds=seconds,
        )

    @property
    def told_ms(self) -> float:
        """Playing time in milliseconds as the header tells it; 0 where it does not."""
        return 1000 * _seconds(self._stream, self._container)

    def _counted(self) -> tuple[int, float]:
        """Frames, and the end of the last one in milliseconds, from the packets alone."""
        count, end = 0, 0.0
        self._restart()
        for packet in self._container.demux(self._stream):
            if packet.size:
                count += 1
                time = packet.pts if packet.pts is not None else packet.dts
                if time is not None:
                    end = max(end, _ms(time + (packet.duration or 0), self._stream) - self._start_ms)
        return count, end

    def shown(self, *, from_start: bool = True) -> Iterator[Shown]:
        """The frames in the order of their times. `from_start` False: from where `at` has sought to, uncounted."""
        if from_start:
            self._restart()
        time_ms = 0.0
        for number, frame in enumerate(self._decoded()):
            time = frame.pts if frame.pts is not None else frame.dts
            if time is not None:
                time_ms = max(time_ms, _ms(time, self._stream) - self._start_ms)
            elif number:
                time_ms += 1000 / float(self._stream.average_rate or 25)
            self._check_size(frame.width, frame.height)
            self._check_length(time_ms / 1000, number)
            yield Shown(frame, number, time_ms)

    def at(self, time_ms: float) -> Shown:
        """The frame on screen at a moment; past the end the last one, before the beginning the first one."""
        for has_sought in (True, False):
            found: Shown | None = None
            if has_sought and not self._seek(time_ms):
                continue
            for shown in self.shown(from_start=not has_sought):
                if shown.time_ms > time_ms and found is not None:
                    break
                found = shown
                if shown.time_ms > time_ms:
                    break
            # What was sought may have been overshot; from the start there is nothing earlier.
            if found is not None and (found.time_ms <= time_ms or not has_sought):
                return self._renumbered(found) if has_sought else found
        raise self._empty()

    def glance(self, time_ms: float) -> Shown:
        """About the frame on screen at a moment: the exact one as far as it costs no more than `GLANCE_FRAMES`."""
        found = None
        is_sought = self._seek(time_ms)
        for shown in islice(self.shown(from_start=not is_sought), GLANCE_FRAMES):
            if shown.time_ms > time_ms and found is not None:
                break
            found = shown
        if found is None:
            raise self._empty()
        return found

    def numbered(self, number: int) -> Shown:
        """The frame of this number; past the end the last one."""
        found = None
        for found in self.shown():
            if found.number == number:
                break
        if found is None:
            raise self._empty()
        return found

    def end_of(self, last: Shown) -> float:
        """Until when the last frame is on screen, in milliseconds."""
        own = _ms(last.frame.duration, self._stream) if last.frame.duration else 0.0
        rate = float(self._stream.average_rate or 0)
        return last.time_ms + (own or (1000 / rate if rate else 40.0))

    def _renumbered(self, sought: Shown) -> Shown:
        """Numbers cannot be counted after a seek; at a steady rate they follow from the time."""
        return Shown(sought.frame, round(sought.time_ms * self.info.fps / 1000), sought.time_ms)

    def _seek(self, time_ms: float) -> bool:
        """To the key frame at or before; False where this file cannot be sought in."""
        base = self._stream.time_base
        assert base is not None, "a stream that was opened has a time base"
        try:
            self._container.seek(int((time_ms + self._start_ms) / 1000 / base), stream=self._stream, backward=True)
        except FFmpegMemoryError:
            raise
        except (FFmpegError, OverflowError):
            return False
        return True

    def _restart(self) -> None:
        self._container.close()
        self._open()

    def _decoded(self) -> Iterator[AvFrame]:
        """Every good frame; a damaged packet is passed over."""
        packets = iter(self._container.demux(self._stream))
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                frames = self._stream.decode(packet)
            except FFmpegMemoryError:
                raise
            except av.error.EOFError:
                return
            except FFmpegError:
                continue
            yield from frames

    def _check_size(self, width: int, height: int) -> None:
        most = self._limits
        if width * height > most.max_pixels or max(width, height) > most.max_side:
            raise TooLarge(
                f"The video is {width:,} x {height:,} pixels; at most {most.max_pixels:,} pixels in all and "
                f"{most.max_side:,} on a side are accepted. Make it smaller."
            )

    def _check_length(self, seconds: float, num_frames: int) -> None:
        most = self._limits
        if seconds > most.max_seconds:
            raise TooLarge(
                f"The video is {seconds:,.0f} seconds long; at most {most.max_seconds:,.0f} are accepted. "
                "Send it in parts."
            )
        if num_frames > most.max_frames:
            raise TooLarge(
                f"The video has {num_frames:,} frames; at most {most.max_frames:,} are accepted. Send it in parts, or "
                "with fewer frames a second."
            )

    def _empty(self) -> UndecodableImage:
        return UndecodableImage(f"The {self.format} file has no frame that can be decoded; is it damaged or cut off?")

    def _explained(self, error: Exception) -> Exception:
        """FFmpeg's errors as sentences; ours, and the lack of memory, as they are."""
        if isinstance(error, LehrError | MemoryError):
            return error
        reason = getattr(error, "strerror", None) or str(error)
        return UndecodableImage(
            f"The {self.format} file cannot be read as a video ({reason}); it is damaged or ends before it should. "
            "Send it whole, or re-encode it as MP4."
        )


def _dense(film: Film, sample_ms: int) -> Iterator[tuple[int, Shown]]:
    """Moments and the frames on screen then, decoding everything once."""
    index, last = 0, None
    for shown in film.shown():
        while last is not None and sample_time(index, sample_ms) < shown.time_ms:
            yield sample_time(index, sample_ms), last
            index += 1
        last = shown
    if last is None:
        raise film._empty()
    end_ms = film.end_of(last)
    while sample_time(index, sample_ms) < end_ms:
        yield sample_time(index, sample_ms), last
        index += 1
    if index == 0:  # shorter than half an interval
        yield round(end_ms / 2), film.at(end_ms / 2)


def _sparse(film: Film, sample_ms: int) -> Iterator[tuple[int, Shown]]:
    """The same by seeking: between two samples are many frames that nobody wants."""
    end_ms = film.info.duration_seconds * 1000
    if sample_time(0, sample_ms) >= end_ms:
        yield round(end_ms / 2), film.at(end_ms / 2)
        return
    index = 0
    while (time_ms := sample_time(index, sample_ms)) < end_ms:
        yield time_ms, film.at(time_ms)
        index += 1


def _check_number(length_ms: float, sample_ms: int, most: int) -> None:
    if length_ms // sample_ms > most:
        raise TooLarge(
            f"A frame every {sample_ms:,} ms would be more than {most:,} frames, the most of one video at once. Raise "
            f"sample_ms to {math.ceil(length_ms / most):,} or more, or send the video in parts."
        )


def _film_in(container: InputContainer, format_: str) -> VideoStream:
    films = [one for one in container.streams.video if not int(one.disposition) & _ATTACHED_PICTURE]
    if films and films[0].codec_context is None:
        raise UndecodableImage(
            f"The {format_} file's video is coded in a way that cannot be read; re-encode it as MP4."
        )
    if films:
        return films[0]
    raise UndecodableImage(f"The {format_} file holds no video{' but sound' * bool(container.streams.audio)}.")


def _seconds(stream: VideoStream, container: InputContainer) -> float:
    """Playing time as the header tells; 0 where it does not."""
    if stream.duration:
        return _ms(stream.duration, stream) / 1000
    return max(0.0, (container.duration or 0) / av.time_base)


def _ms(units: Any, stream: VideoStream) -> float:
    """Stream units of time in milliseconds."""
    return float(units * (stream.time_base or 0) * 1000)
