"""What an input holds: one image, video, audio or text, given as bytes, by URL or as raw text; and how it is shown.

The row never holds bytes and never a base address: `hosted.suffix` is the bare name of the blob there, and the address
is made when an answer goes out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from lehr.errors import InvalidInput, NotFound, TooLarge
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.store import dataset_exports as export_rows
from lehr.store import inputs as input_rows
from lehr.store.db import Database

KINDS = ("image", "video", "audio", "text")
ORIGINAL, SMALL = "orig", "small"
MAX_BYTES = 85 * 2**20
"""Bytes of one input."""
MAX_URL_LENGTH = 8192
MAX_ROW_BYTES = 2**20
"""Text, metadata and labels of one input."""

CONTENT_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "MP4": "video/mp4",
    "MOV": "video/quicktime",
    "3GPP": "video/3gpp",
    "AVI": "video/x-msvideo",
    "WMV": "video/x-ms-wmv",
    "MKV": "video/x-matroska",
    "WEBM": "video/webm",
}
"""Format of a picture or video → its media type."""

_HOSTED = re.compile(r"/hosted/orig/users/[^/]+/apps/[^/]+/inputs/(?:image|video)/([0-9a-f]{64})$")
_KEPT = ("concepts", "metadata", "geo")


@dataclass(frozen=True, kw_only=True)
class Medium:
    """The one thing that an input holds."""

    kind: str
    content: bytes
    """The bytes that came along; empty where a URL or raw text did."""
    url: str
    may_repeat_url: bool


def medium_of(data: resources_pb2.Data) -> Medium:
    """What the data holds. Raises InvalidInput (30104; 30106 for a URL) or TooLarge with a sentence."""
    kind = _kind(data)
    given = getattr(data, kind)
    content = b"" if kind == "text" else given.base64
    if kind != "text" and bool(content) == bool(given.url):
        found = "both" if content else "neither"
        raise InvalidInput(f"Input data.{kind} needs either url or base64; this one has {found}.")
    if len(content) > MAX_BYTES:
        raise TooLarge(f"Input has {len(content)} bytes; at most {MAX_BYTES} are accepted.")
    url = checked_url(given.url) if given.url else ""
    return Medium(kind=kind, content=content, url=url, may_repeat_url=given.allow_duplicate_url)


def kind_of(data: resources_pb2.Data) -> str:
    """Which kind a stored input is."""
    return next(kind for kind in KINDS if data.HasField(kind))


def _kind(data: resources_pb2.Data) -> str:
    kinds = [kind for kind in KINDS if data.HasField(kind)]
    if kinds == ["image", "text"] and data.text.raw and not data.text.url:
        return "image"  # a picture with its caption
    if not kinds:
        raise InvalidInput("Input has no data: give data.image, data.text, data.video or data.audio.")
    if len(kinds) > 1:
        raise InvalidInput(f"Input has {' and '.join(kinds)}; it can hold one of them, or an image with data.text.raw.")
    if kinds == ["text"] and bool(data.text.raw) == bool(data.text.url):
        raise InvalidInput("Input data.text needs either raw or url.")
    return kinds[0]


def hosted_sha(item: resources_pb2.Input) -> str:
    """The blob whose hosted address an input shows, as an answer of ours does; empty for any other address."""
    found = _HOSTED.search(item.data.image.url or item.data.video.url)
    return found[1] if found else ""


def checked_url(url: str) -> str:
    """The URL itself, if it is one that can be fetched. Raises InvalidInput (30106)."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme.lower() in ("http", "https") and bool(parts.hostname) and url.isprintable()
    except ValueError:
        is_good = False
    if is_good and len(url) <= MAX_URL_LENGTH:
        return url
    shown = url[:200] + ("…" if len(url) > 200 else "")
    raise InvalidInput(
        f"Input URL {shown!r} cannot be fetched: give an http or https address of at most {MAX_URL_LENGTH} characters.",
        code=status_code_pb2.INPUT_INVALID_URL,
    )


def bare(data: resources_pb2.Data, medium: Medium, sha: str = "") -> resources_pb2.Data:
    """The data as its row keeps it: no bytes, only what a client may set. Raises InvalidInput if it is too much."""
    kept = resources_pb2.Data()
    for name, value in data.ListFields():
        if name.name in _KEPT:
            _put(kept, name.name, value)
    if data.text.raw:
        kept.text.raw = data.text.raw
    target: Any = getattr(kept, medium.kind)
    target.SetInParent()
    target.url, target.allow_duplicate_url = medium.url, medium.may_repeat_url
    if sha:
        host(target, sha)
    if kept.ByteSize() > MAX_ROW_BYTES:
        raise InvalidInput(
            f"Input has {kept.ByteSize()} bytes of text, metadata and concepts; at most {MAX_ROW_BYTES}."
        )
    return kept


def _put(data: resources_pb2.Data, name: str, value: Any) -> None:
    if name == "concepts":
        data.concepts.extend(value)
    else:
        getattr(data, name).CopyFrom(value)


def host(target: Any, sha: str, *sizes: str) -> None:
    """Notes in an Image, Video, Audio or Text of a row that a blob holds its bytes; and the sizes beside `orig`."""
    target.hosted.suffix = sha
    del target.hosted.sizes[:]
    target.hosted.sizes.extend((ORIGINAL, *sizes))


def shown(stored: resources_pb2.Input, ref: AppRef, base_url: str) -> resources_pb2.Input:
    """A copy of a stored input as a client sees it: with addresses under `base_url`."""
    answer = resources_pb2.Input()
    answer.CopyFrom(stored)
    for kind in KINDS:
        target = getattr(answer.data, kind) if answer.data.HasField(kind) else None
        if target is None or not target.hosted.suffix:
            continue
        hosted = target.hosted
        hosted.prefix = f"{base_url}/hosted"
        hosted.suffix = f"users/{ref.user_id}/apps/{ref.app_id}/inputs/{kind}/{hosted.suffix}"
        hosted.crossorigin = "use-credentials"
        target.url = target.url or f"{hosted.prefix}/{ORIGINAL}/{hosted.suffix}"
        if kind == "video" and SMALL in hosted.sizes:
            _show_thumbnail(target)
    return answer


def _show_thumbnail(video: resources_pb2.Video) -> None:
    """Its middle frame is under the same address in another size; clients look for it in two more fields."""
    video.hosted_thumbnail.CopyFrom(video.hosted)
    del video.hosted_thumbnail.sizes[:]
    video.hosted_thumbnail.sizes.append(SMALL)
    video.thumbnail_url = f"{video.hosted.prefix}/{SMALL}/{video.hosted.suffix}"


@dataclass(frozen=True, kw_only=True)
class Hosted:
    """A blob behind a hosted address."""

    sha: str
    content_type: str
    """Of pictures that have been looked at; anything else is application/octet-stream, to be saved and not shown."""


@dataclass(frozen=True, kw_only=True)
class HostedMedia:
    """Needs only the store."""

    db: Database

    def find(self, ref: AppRef, sha: str, size: Literal["orig", "small"] | str) -> Hosted:
        """The blob of `…/hosted/{size}/users/…/apps/…/inputs/{kind}/{sha}`.

        Raises NotFound unless an input of this very app has it: knowing a hash opens nothing.
        """
        with self.db.read() as tx:
            found = input_rows.with_content(tx, ref, sha)
            frozen = export_rows.has_content(tx, ref, sha) if found is None else None
        if frozen is not None and size == ORIGINAL:  # the input went, a version of a data set keeps it
            return Hosted(sha=sha, content_type=_content_type(frozen.data))
        if found is None or size not in (ORIGINAL, SMALL) or (size == SMALL and not found.thumbnail_sha):
            raise NotFound(f"App {ref.app_id!r} has no input with the content {sha[:64]!r} in size {size[:20]!r}.")
        if size == SMALL and found.thumbnail_sha != found.content_sha:
            return Hosted(sha=found.thumbnail_sha, content_type=CONTENT_TYPES["JPEG"])
        return Hosted(sha=found.content_sha, content_type=_content_type(found.message.data))


def _content_type(data: resources_pb2.Data) -> str:
    seen = data.image.image_info.format or data.video.video_info.video_format
    return CONTENT_TYPES.get(seen, "application/octet-stream")
