"""What an input of a prediction shows: its bytes from wherever they are, its pixels, the frames of a video."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lehr.errors import DownloadFailed, InvalidPrediction
from lehr.learn.data.video import VideoFrame
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.services.media import hosted_sha, kind_of
from lehr.serving.decoders import DecoderPool
from lehr.serving.fetch import Fetcher
from lehr.store import inputs as input_rows
from lehr.store.blobs import Blobs
from lehr.store.db import Database

Kind = Literal["image", "video"]


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Needs the store, the blobs, decoder processes and a way to fetch URLs."""

    db: Database
    blobs: Blobs
    decoders: DecoderPool
    fetcher: Fetcher

    def kind(self, ref: AppRef, item: resources_pb2.Input) -> Kind:
        """Whether an input is a picture or a video: sent along, or of the app by its id alone.

        Raises InvalidPrediction for one that is neither, DownloadFailed for an id that the app does not have.
        """
        data = self._stored(ref, item.id).message.data if _is_by_id(item) else item.data
        if data.HasField("video"):
            return "video"
        if data.HasField("image"):
            return "image"
        kinds = ", ".join(field.name for field, _ in data.ListFields()) or "nothing"
        raise InvalidPrediction(f"An input needs data.image or data.video with base64 or url; this one has {kinds}.")

    def content(self, ref: AppRef, item: resources_pb2.Input) -> bytes:
        """The bytes of its picture or video. Raises InvalidPrediction, DownloadFailed, NotFound or TooLarge."""
        if _is_by_id(item):
            return self.blobs.read(self._stored(ref, item.id).content_sha)
        given = getattr(item.data, self.kind(ref, item))
        if item.id and (sha := hosted_sha(item)) and self._has(ref, item.id, sha):
            return self.blobs.read(sha)  # an input as it was listed: its address asks for a key
        if given.base64:
            return bytes(given.base64)
        if given.url:
            return self.fetcher.fetch(given.url).data
        raise InvalidPrediction("An input's data.image or data.video needs base64 or url; this one has neither.")

    def pixels(self, ref: AppRef, item: resources_pb2.Input, shorter_side: int | None = None) -> np.ndarray:
        """A picture: uint8 [height, width, 3], with this shorter side. Raises as `content`, UndecodableImage, Busy."""
        return self.decoders.decode(self.content(ref, item), shorter_side=shorter_side).pixels

    def frames(
        self,
        ref: AppRef,
        item: resources_pb2.Input,
        *,
        sample_ms: int,
        shorter_side: int | None = None,
        max_frames: int | None = None,
    ) -> Generator[list[VideoFrame], None, None]:
        """A video: a frame every `sample_ms` milliseconds, a few at a time; close it when done. Raises as `pixels`.

        More than `max_frames` of them raise TooLarge with the `sample_ms` that would do.
        """
        content = self.content(ref, item)
        yield from self.decoders.frames(content, sample_ms, shorter_side=shorter_side, max_frames=max_frames)

    def _has(self, ref: AppRef, input_id: str, sha: str) -> bool:
        with self.db.read() as tx:
            stored = input_rows.stored(tx, ref, [input_id]).get(input_id)
        return stored is not None and stored.content_sha == sha

    def _stored(self, ref: AppRef, input_id: str) -> input_rows.StoredInput:
        with self.db.read() as tx:
            stored = input_rows.stored(tx, ref, [input_id]).get(input_id)
        if stored is None or not stored.content_sha or kind_of(stored.message.data) not in ("image", "video"):
            raise DownloadFailed(f"The app has no image or video under input id {input_id!r}.")
        return stored


def _is_by_id(item: resources_pb2.Input) -> bool:
    return bool(item.id) and not item.HasField("data")
