"""From what waits in the backlog to vectors: bytes read and decoded ahead, pictures embedded in batches.

While one batch is in the predictor the next is being decoded, so that the network is what takes the time. Writes
nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from lehr.errors import NotFound, TooLarge, UndecodableImage
from lehr.learn.data.packed import Found
from lehr.protocol import resources_pb2
from lehr.services.media import kind_of
from lehr.services.neighbours import unit
from lehr.store.backlog import Settled, Subject
from lehr.store.blobs import Blobs
from lehr.store.embeddings import Vector

if TYPE_CHECKING:
    from lehr.learn.data.video import VideoFrame
    from lehr.serving.decoders import DecoderPool

BATCH = 16
"""Pictures in one request to the predictor."""
UNDER_WAY = 4
"""Requests to the predictor at once: while some are answered the next are being sent."""
AHEAD = 2 * BATCH
"""Inputs that are decoded before they are needed."""
MAX_REGIONS = 1000
"""Regions of one input that get vectors."""

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, kw_only=True)
class Sight:
    """One thing to embed of an input: the whole, a region, a frame."""

    pixels: np.ndarray
    annotation_key: int | None = None
    frame_ms: int | None = None


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """How the pictures of one app become vectors. `forward`: uint8 [H, W, 3] each to [N, D]."""

    blobs: Blobs
    decoders: DecoderPool
    forward: Callable[[Sequence[np.ndarray]], np.ndarray]
    side: int
    """The shorter side that the network wants."""
    sample_ms: int
    """Milliseconds between the frames of a video."""
    parallel_decodes: int
    """Inputs that are being decoded at once."""
    packed: Found = lambda sha256: None
    """What a training on this machine has decoded already."""

    def settled(self, subjects: Iterable[Subject]) -> Iterator[list[Settled]]:
        """What becomes of each, some at a time, in order. What is wrong with an input is in its outcome."""
        with (
            ThreadPoolExecutor(self.parallel_decodes, "decode") as decode,
            ThreadPoolExecutor(UNDER_WAY, "forward") as forward,
        ):
            seen = _ahead(decode, self._seen, subjects, AHEAD, self._packed_already)
            yield from _ahead(forward, self._embedded, _batches(seen), UNDER_WAY)

    def _packed_already(self, subject: Subject) -> tuple[Subject, list[Sight] | Settled] | None:
        """Without a thread, which would cost as much as all else that is done for such a picture."""
        if subject.row.annotation_key is not None or subject.annotations or kind_of(subject.message.data) != "image":
            return None
        pixels = self.packed(subject.content_sha)
        return None if pixels is None else (subject, [Sight(pixels=pixels)])

    def _seen(self, subject: Subject) -> tuple[Subject, list[Sight] | Settled]:
        try:
            if kind_of(subject.message.data) == "image":
                return subject, list(self._of_image(subject))
            if kind_of(subject.message.data) == "video":
                return subject, self._of_video(subject)
            return subject, []
        except (UndecodableImage, TooLarge, NotFound) as error:
            return subject, Settled(row=subject.row, error=error.details or type(error).__name__)

    def _of_image(self, subject: Subject) -> Iterator[Sight]:
        if subject.row.annotation_key is None:
            yield Sight(pixels=self._whole(subject.content_sha))
        if not subject.annotations:
            return
        data = self.blobs.read(subject.content_sha)
        pixels = self.decoders.decode(data).pixels  # a region may be a small part: cut from the full size
        for key, note in subject.annotations:
            for part in cuts(pixels, boxes_of(note.data.regions)):
                yield Sight(pixels=part, annotation_key=key)

    def _whole(self, content_sha: str) -> np.ndarray:
        pixels = self.packed(content_sha)
        if pixels is None:
            pixels = self.decoders.decode(self.blobs.read(content_sha), shorter_side=self.side).pixels
        return pixels

    def _of_video(self, subject: Subject) -> Settled:
        """Embedded as it is decoded: a video's frames may be too many to be kept."""
        data = self.blobs.read(subject.content_sha)
        vectors: list[Vector] = []
        if subject.row.annotation_key is None:
            with closing(_frames(self.decoders, data, self.sample_ms, self.side)) as parts:
                for part in parts:
                    sights = [Sight(pixels=frame.pixels, frame_ms=frame.time_ms) for frame in part]
                    vectors += self._vectors(subject, sights)
        for key, note in subject.annotations:
            for frame in note.data.frames:
                vectors += self._vectors(subject, self._of_frame(data, key, frame))
        return Settled(row=subject.row, vectors=vectors)

    def _of_frame(self, data: bytes, key: int, frame: resources_pb2.Frame) -> list[Sight]:
        info = frame.frame_info
        pixels = self.decoders.frame(data, info.time, number=info.number).pixels
        boxes = boxes_of(frame.data.regions)
        return [Sight(pixels=part, annotation_key=key, frame_ms=info.time) for part in cuts(pixels, boxes)]

    def _vectors(self, subject: Subject, sights: Sequence[Sight]) -> list[Vector]:
        vectors: list[Vector] = []
        for start in range(0, len(sights), BATCH):
            some = sights[start : start + BATCH]
            values_ND = unit(self.forward([sight.pixels for sight in some]))
            vectors += [_vector(subject, sight, row) for sight, row in zip(some, values_ND, strict=True)]
        return vectors

    def _embedded(self, batch: Sequence[tuple[Subject, list[Sight] | Settled]]) -> list[Settled]:
        pictures = [sight.pixels for _, seen in batch if isinstance(seen, list) for sight in seen]
        values = iter(unit(self.forward(pictures)) if pictures else ())
        return [
            seen
            if isinstance(seen, Settled)
            else Settled(row=subject.row, vectors=[_vector(subject, sight, next(values)) for sight in seen])
            for subject, seen in batch
        ]


def _frames(decoders: DecoderPool, data: bytes, sample_ms: int, side: int) -> Generator[list[VideoFrame], None, None]:
    yield from decoders.frames(data, sample_ms, shorter_side=side)


def _vector(subject: Subject, sight: Sight, values_D: np.ndarray) -> Vector:
    key = subject.row.input_key
    return Vector(input_key=key, values=values_D, annotation_key=sight.annotation_key, frame_ms=sight.frame_ms)


def _ahead(
    pool: ThreadPoolExecutor,
    work: Callable[[T], U],
    items: Iterable[T],
    number: int,
    at_once: Callable[[T], U | None] = lambda item: None,
) -> Iterator[U]:
    """The results in order, while up to `number` more are being made; where `at_once` has one, that is taken."""
    under_way: deque[Future[U]] = deque()
    try:
        for item in items:
            known = at_once(item)
            under_way.append(pool.submit(work, item) if known is None else _known(known))
            if len(under_way) > number:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        for future in under_way:
            future.cancel()


def _known(result: U) -> Future[U]:
    future: Future[U] = Future()
    future.set_result(result)
    return future


def _batches(
    seen: Iterable[tuple[Subject, list[Sight] | Settled]],
) -> Iterator[list[tuple[Subject, list[Sight] | Settled]]]:
    """Inputs together until their pictures fill a batch."""
    batch: list[tuple[Subject, list[Sight] | Settled]] = []
    num_pictures = 0
    for subject, sights in seen:
        batch.append((subject, sights))
        num_pictures += len(sights) if isinstance(sights, list) else 1
        if num_pictures >= BATCH:
            yield batch
            batch, num_pictures = [], 0
    if batch:
        yield batch


def boxes_of(regions: Iterable[resources_pb2.Region]) -> list[tuple[float, float, float, float]]:
    """Top, left, bottom, right, as parts of height and width, of every region that has an extent."""
    found = [_box_of(region.region_info) for region in regions]
    return [box for box in found if box is not None][:MAX_REGIONS]


def _box_of(info: resources_pb2.RegionInfo) -> tuple[float, float, float, float] | None:
    if info.HasField("bounding_box"):
        box = info.bounding_box
        found = (box.top_row, box.left_col, box.bottom_row, box.right_col)
    elif info.HasField("polygon") and info.polygon.points:
        tops, lefts = [p.row for p in info.polygon.points], [p.col for p in info.polygon.points]
        found = (min(tops), min(lefts), max(tops), max(lefts))
    else:
        return None
    has_extent = found[0] < found[2] and found[1] < found[3]
    return found if has_extent and all(map(math.isfinite, found)) else None


def cuts(pixels: np.ndarray, boxes: Iterable[tuple[float, float, float, float]]) -> Iterator[np.ndarray]:
    """The boxes of a picture, each uint8 [H, W, 3].

    Copied, so that a few small ones do not hold all of the picture, until the copies are as large as it is.
    """
    room = pixels.nbytes
    for box in boxes:
        part = cut(pixels, box)
        room -= part.nbytes
        yield part.copy() if room >= 0 else part


def cut(pixels: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """The box within a picture, uint8 [H, W, 3], not copied: every pixel that it touches, at least one."""
    height, width = pixels.shape[:2]
    top, left = (min(int(part * size), size - 1) for part, size in ((box[0], height), (box[1], width)))
    bottom = min(height, max(top + 1, math.ceil(box[2] * height)))
    right = min(width, max(left + 1, math.ceil(box[3] * width)))
    return pixels[max(0, top) : bottom, max(0, left) : right]
