"""What happens to new inputs in the background: bytes fetched, the picture looked at, a thumbnail made.

Every outcome is written in one transaction behind the job's token, so a run that is repeated after a crash, or beside a
run that lost its lease, changes nothing that is already settled.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from lehr.errors import DownloadFailed, LehrError, NotFound, TooLarge, UndecodableImage
from lehr.jobs.queue import Job, Queue
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.statuses import status
from lehr.services import indexing
from lehr.services.batches import chunks
from lehr.services.media import SMALL, host, kind_of
from lehr.store import blob_sizes
from lehr.store import inputs as input_rows
from lehr.store.blobs import Blobs
from lehr.store.db import Database
from lehr.store.inputs import StoredInput

if TYPE_CHECKING:
    from lehr.learn.data.video import VideoInfo
    from lehr.serving.decoders import DecoderPool
    from lehr.serving.fetch import Fetcher

KIND = "ingest"
PENDING = (status_code_pb2.INPUT_DOWNLOAD_PENDING, status_code_pb2.INPUT_DOWNLOAD_IN_PROGRESS)
THUMBNAIL_SIDE = 512
"""Longer side of a thumbnail, in pixels."""
SMALL_BYTES = 64 * 2**10
"""A picture of at most this and at most THUMBNAIL_SIDE pixels is its own thumbnail."""
SHOWN_BY_BROWSERS = ("JPEG", "PNG", "WEBP", "GIF")
ROUND_SECONDS = 0.2
"""Outcomes of this long go into one transaction."""
MANY = 64
"""Inputs in one job: a part of a large upload."""
ARRIVING_SECONDS = 0.2
"""While more come in so long, an upload is under way."""
GIVE_WAY_SECONDS = 5.0
"""So long a part of it waits at most: disk and processors are for taking the rest in."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one input."""

    input_id: str
    content_sha: str = ""
    num_bytes: int = 0
    info: resources_pb2.ImageInfo | resources_pb2.VideoInfo | None = None
    thumbnail: bytes = b""
    """Empty: the original is small enough to be shown itself, or there is no picture."""
    error: LehrError | None = None


@dataclass(frozen=True, kw_only=True)
class Ingest:
    """Needs the store, the blobs, the queue, decoder processes and a way to fetch URLs."""

    db: Database
    blobs: Blobs
    queue: Queue
    decoders: DecoderPool
    fetcher: Fetcher
    parallel: int = 8
    """Inputs in memory at once."""

    def run(self, job: Job) -> None:
        """Processes the inputs that a job names, as far as they are still pending.

        Raises Cancelled or LeaseLost, and the first unexpected error once all other inputs are settled.
        """
        ref = app_of(job)
        waiting = self._waiting(ref, input_ids_of(job))
        if len(waiting) >= MANY:
            self._give_way(job, ref)
        threads = ThreadPoolExecutor(self.parallel, "ingest")
        errors: list[BaseException] = []
        try:
            todo: set[Future[Outcome]] = {threads.submit(self._processed, item) for item in waiting}
            while todo:
                done, todo = wait(todo, timeout=ROUND_SECONDS)
                self.queue.beat(job)
                errors += [error for each in done if (error := each.exception())]
                self._settle(job, ref, [each.result() for each in done if not each.exception()])
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
        if errors:
            raise errors[0]

    def failed(self, tx: Connection, job: Job, error: Exception) -> None:
        """In the transaction that gives a job up: what still waits is told why."""
        reason = error.details if isinstance(error, LehrError) else "the server had trouble with it; its log says more"
        close(tx, app_of(job), input_ids_of(job), f"The input could not be processed: {reason}")

    def _give_way(self, job: Job, ref: AppRef) -> None:
        """Waits while more inputs come into the app: what is accepted first is looked at soon enough."""
        deadline, newest = time.monotonic() + GIVE_WAY_SECONDS, self._newest(ref)
        while time.monotonic() < deadline:
            time.sleep(ARRIVING_SECONDS)
            self.queue.beat(job)
            before, newest = newest, self._newest(ref)
            if newest == before:
                return

    def _newest(self, ref: AppRef) -> int:
        with self.db.read() as tx:
            return input_rows.newest_key(tx, ref)

    def _waiting(self, ref: AppRef, ids: Sequence[str]) -> list[StoredInput]:
        with self.db.read() as tx:
            found = input_rows.stored(tx, ref, ids)
        return [item for item in found.values() if item.message.status.code in PENDING]

    def _processed(self, item: StoredInput) -> Outcome:
        """Fetches and inspects one input. What is wrong with it is in the outcome; what is wrong with us is raised."""
        try:
            data = self._bytes(item)
            info, thumbnail = self._seen(kind_of(item.message.data), data)
        except (UndecodableImage, TooLarge, DownloadFailed) as error:
            return Outcome(input_id=item.id, content_sha=item.content_sha, error=error)
        sha = item.content_sha or self.blobs.put(data)
        return Outcome(input_id=item.id, content_sha=sha, num_bytes=len(data), info=info, thumbnail=thumbnail)

    def _bytes(self, item: StoredInput) -> bytes:
        if item.content_sha:
            try:
                return self.blobs.read(item.content_sha)
            except NotFound as error:
                raise DownloadFailed(
                    "The bytes of this input are gone from the blob store; send them again."
                ) from error
        return self.fetcher.fetch(getattr(item.message.data, kind_of(item.message.data)).url).data

    def _seen(self, kind: str, data: bytes) -> tuple[resources_pb2.ImageInfo | resources_pb2.VideoInfo | None, bytes]:
        """What it is, and its thumbnail if it needs one."""
        if kind == "video":
            return self._seen_video(data)
        if kind == "text":
            _check_text(data)
            return None, b""
        return self._seen_picture(data)

    def _seen_video(self, data: bytes) -> tuple[resources_pb2.VideoInfo, bytes]:
        seen = self.decoders.inspect_video(data, THUMBNAIL_SIDE)
        return video_info(seen.info), seen.thumbnail

    def _seen_picture(self, data: bytes) -> tuple[resources_pb2.ImageInfo, bytes]:
        seen = self.decoders.inspect(data, THUMBNAIL_SIDE)
        info = resources_pb2.ImageInfo(
            width=seen.info.width,
            height=seen.info.height,
            format=seen.info.format,
            color_mode=seen.info.color_mode,
        )
        is_small = len(data) <= SMALL_BYTES and max(info.width, info.height) <= THUMBNAIL_SIDE
        return info, b"" if is_small and info.format in SHOWN_BY_BROWSERS else seen.thumbnail

    def _settle(self, job: Job, ref: AppRef, outcomes: Sequence[Outcome]) -> None:
        if not outcomes:
            return
        with_thumbnail = [outcome for outcome in outcomes if outcome.thumbnail]
        shas = self.blobs.put_many([outcome.thumbnail for outcome in with_thumbnail])
        thumbnails = dict(zip([each.input_id for each in with_thumbnail], shas, strict=True))
        sizes = {sha: len(each.thumbnail) for sha, each in zip(shas, with_thumbnail, strict=True)}
        sizes |= {each.content_sha: each.num_bytes for each in outcomes if each.num_bytes}
        with self.db.write() as tx:
            blob_sizes.note(tx, sizes)
            self.queue.progressed(tx, job)
            input_rows.lock(tx, ref)
            stored = input_rows.stored(tx, ref, [outcome.input_id for outcome in outcomes])
            shown = {}
            for outcome in outcomes:
                item = stored.get(outcome.input_id)
                if item is not None and item.message.status.code in PENDING:  # else deleted or settled meanwhile
                    small = thumbnails.get(item.id, "")
                    _describe_outcome(item.message, outcome, has_thumbnail=bool(small or outcome.info))
                    shown[item.id] = (outcome.content_sha, small or (outcome.content_sha if outcome.info else ""))
            input_rows.update(tx, ref, [stored[id_].message for id_ in shown])
            input_rows.set_content(tx, ref, shown)
            indexing.arrived(tx, self.queue, ref, [outcome.input_id for outcome in outcomes if outcome.error is None])


def _check_text(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise UndecodableImage(f"The text is not UTF-8: {error.reason} at byte {error.start}.") from error


def _describe_outcome(message: resources_pb2.Input, outcome: Outcome, *, has_thumbnail: bool) -> None:
    if outcome.error is None:
        _describe(message, outcome, has_thumbnail=has_thumbnail)
        message.status.CopyFrom(status(status_code_pb2.INPUT_DOWNLOAD_SUCCESS))
    else:
        message.status.CopyFrom(status(outcome.error.code, outcome.error.details, http=outcome.error.http_status))


def _describe(message: resources_pb2.Input, outcome: Outcome, *, has_thumbnail: bool) -> None:
    target = getattr(message.data, kind_of(message.data))
    host(target, outcome.content_sha, *((SMALL,) if has_thumbnail else ()))
    if isinstance(outcome.info, resources_pb2.VideoInfo):
        target.video_info.CopyFrom(outcome.info)
    elif outcome.info is not None:
        target.image_info.CopyFrom(outcome.info)


def video_info(info: VideoInfo) -> resources_pb2.VideoInfo:
    """What a video is, as its input's row tells it."""
    return resources_pb2.VideoInfo(
        width=info.width,
        height=info.height,
        fps=info.fps,
        video_format=info.format,
        bit_rate=min(info.bit_rate, 2**31 - 1),
        frame_count=info.frame_count,
        duration_seconds=info.duration_seconds,
    )


def close(tx: Connection, ref: AppRef, input_ids: Sequence[str], sentence: str) -> int:
    """Ends the waiting of those that still wait, as failures; answers how many."""
    ended = []
    for some in chunks(input_ids):
        ended += [item for item in input_rows.get_many(tx, ref, some).values() if item.status.code in PENDING]
    for message in ended:
        message.status.CopyFrom(status(status_code_pb2.INPUT_DOWNLOAD_FAILED, sentence))
    input_rows.update(tx, ref, ended)
    return len(ended)


def app_of(job: Job) -> AppRef:
    """The app whose inputs a job is about."""
    return AppRef(str(job.payload["user_id"]), str(job.payload["app_id"]))


def input_ids_of(job: Job) -> list[str]:
    """The inputs a job is about."""
    return [str(input_id) for input_id in job.payload["input_ids"]]
