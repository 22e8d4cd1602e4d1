"""Holds out whole videos: frames a moment apart show nearly the same, though they are no near-duplicates.

Where there are too few videos for that, some are divided within themselves. What is held out of pictures, and of pieces
of videos, is decided by split.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from lehr.learn.data.split import held_out
from lehr.learn.items import Item

STRETCHES = 10
"""Into so many stretches of consecutive frames a video is divided first, and where that is not enough into frames."""


def held_out_videos(items: Sequence[Item], copies_N: np.ndarray, concepts: Sequence[str]) -> np.ndarray:
    """bool [N]: True where the item is kept for evaluation, as `held_out` says it with the frames of a video together.

    `copies_N`: int64 [N], equal numbers are near-duplicates, which stay together too. A video is divided where a
    concept that could be both trained and tested frame by frame would be missing from one of the parts, or where more
    would be held out than trains.
    """
    by_frame_N = held_out(items, copies_N.tolist(), concepts)
    num_frames = Counter(item.of_video.sha256 for item in items if item.of_video)
    if not num_frames or any(item.split == "test" for item in items):
        return by_frame_N
    numbers = {concept: number for number, concept in enumerate(concepts)}
    carried_KN = np.zeros((len(concepts), len(items)), dtype=bool)
    for index, item in enumerate(items):
        carried_KN[[numbers[concept] for concept in item.positives & numbers.keys()], index] = True
    videos_N = np.array([item.of_video.sha256 if item.of_video else "" for item in items])
    pieces = dict.fromkeys(num_frames, 1)
    while True:
        is_held_N = held_out(items, _together(items, copies_N, pieces).tolist(), concepts)
        lacking_N = _lacking(is_held_N, by_frame_N, carried_KN)
        coarse = [video for video in set(videos_N[lacking_N].tolist()) - {""} if pieces[video] < num_frames[video]]
        if not coarse:
            return is_held_N
        for video in coarse:
            pieces[video] = min(STRETCHES, num_frames[video]) if pieces[video] == 1 else num_frames[video]


def _lacking(is_held_N: np.ndarray, by_frame_N: np.ndarray, carried_KN: np.ndarray) -> np.ndarray:
    """bool [N]: the items that should be divided more finely, for the split is worse than the one frame by frame."""
    lacking_N = np.zeros(len(is_held_N), dtype=bool)
    for carried_N in (*carried_KN, np.ones_like(is_held_N)):
        if _is_in_both(by_frame_N[carried_N]) and not _is_in_both(is_held_N[carried_N]):
            lacking_N |= carried_N
    if is_held_N.sum() > len(is_held_N) / 2 >= by_frame_N.sum():
        lacking_N |= is_held_N
    return lacking_N


def _is_in_both(is_held: np.ndarray) -> bool:
    return bool(is_held.any() and not is_held.all())


def _together(items: Sequence[Item], copies_N: np.ndarray, pieces: Mapping[str, int]) -> np.ndarray:
    """int64 [N]: equal numbers stay together, being near-duplicates or of one piece of a video."""
    piece_N = _piece_of(items, pieces)
    groups_N = np.arange(len(items))
    while True:
        joined_N = _lowest(_lowest(groups_N, piece_N), copies_N)
        if np.array_equal(joined_N, groups_N):
            return groups_N
        groups_N = joined_N


def _piece_of(items: Sequence[Item], pieces: Mapping[str, int]) -> np.ndarray:
    """int64 [N]: a number per piece of a video, consecutive frames in each, and per item that is no frame."""
    frames: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        if item.of_video:
            frames.setdefault(item.of_video.sha256, []).append(index)
    piece_N = np.arange(len(items))
    for video, indices in frames.items():
        in_time = sorted(indices, key=lambda index: _moment(items[index]))
        for place, index in enumerate(in_time):
            first = -(-(place * pieces[video] // len(in_time)) * len(in_time) // pieces[video])
            piece_N[index] = in_time[first]
    return piece_N


def _moment(item: Item) -> tuple[int, int, str]:
    assert item.of_video is not None
    return item.of_video.time_ms, item.of_video.number, item.id


def _lowest(groups_N: np.ndarray, of_N: np.ndarray) -> np.ndarray:
    """int64 [N]: the lowest group among all items with the same number `of`."""
    _, which_N = np.unique(of_N, return_inverse=True)
    lowest = np.full(which_N.max() + 1, len(groups_N))
    np.minimum.at(lowest, which_N, groups_N)
    return lowest[which_N]
