"""Predictions of a video: frame by frame, as it is decoded, within a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing

import numpy as np

from lehr.errors import InvalidPrediction, TooLarge
from lehr.learn.data.video import DEFAULT_SAMPLE_MS, VideoFrame
from lehr.protocol import resources_pb2
from lehr.protocol.structs import from_struct

MAX_FRAMES = 3600
"""Frames of one video in one answer: an hour, one a second."""
MAX_SAMPLE_MS = 3_600_000
Tell = Callable[[Sequence[np.ndarray]], Sequence[resources_pb2.Data]]
"""Pictures in, what is in each of them out."""


def sample_ms_of(asked: resources_pb2.Model, own: resources_pb2.Model, app: resources_pb2.App) -> int:
    """Milliseconds between frames: as the request says, else the version, else the app; else 1000.

    Raises InvalidPrediction for a number that cannot be meant.
    """
    layers = (asked.model_version.output_info, asked.output_info, own.model_version.output_info)
    return next(filter(None, map(_told, layers)), 0) or app.sample_ms or DEFAULT_SAMPLE_MS


def _told(info: resources_pb2.OutputInfo) -> int:
    value = info.output_config.sample_ms or from_struct(info.params).get("sample_ms") or 0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_SAMPLE_MS or value % 1:
        raise InvalidPrediction(
            f"sample_ms is the milliseconds between the frames of a video, a whole number from 1 to {MAX_SAMPLE_MS:,}; "
            f"given {value!r}."
        )
    return int(value)


def predicted(parts: Generator[list[VideoFrame], None, None], tell: Tell, deadline: float) -> resources_pb2.Data:
    """The frames in which something is found, with what is; those without are left out, as clients expect.

    `deadline` is on the monotonic clock. Raises TooLarge past it, and what decoding and predicting raise.
    """
    data, began, num_done = resources_pb2.Data(), time.monotonic(), 0
    with closing(parts):
        for part in parts:
            for frame, found in zip(part, tell([frame.pixels for frame in part]), strict=True):
                if found.ListFields():
                    data.frames.add(frame_info=info_of(frame), data=found)
            num_done += len(part)
            if time.monotonic() > deadline:
                raise TooLarge(
                    f"The video takes too long: {num_done:,} frames were predicted in {time.monotonic() - began:.0f} "
                    "seconds, and it was not at its end. Raise sample_ms, or send it in parts."
                )
    return data


def info_of(frame: VideoFrame) -> resources_pb2.FrameInfo:
    """Which frame it is, and of when."""
    return resources_pb2.FrameInfo(index=frame.index, time=frame.time_ms, number=frame.number)
