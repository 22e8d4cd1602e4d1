"""A video's manifest for players that stream: MPEG-DASH (ISO/IEC 23009-1), as a data URI.

The original is offered as it is, in one piece: nothing is re-encoded, so there is one quality to choose from.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from fractions import Fraction
from xml.etree import ElementTree

from lehr.errors import InvalidInput, NotFound
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.services.media import CONTENT_TYPES, shown
from lehr.store import inputs as input_rows
from lehr.store.db import Database

PREFIX = "data:application/dash+xml;base64,"
_NAMESPACE = "urn:mpeg:dash:schema:mpd:2011"
_PROFILE = "urn:mpeg:dash:profile:full:2011"


@dataclass(frozen=True, kw_only=True)
class Manifests:
    """Needs only the store."""

    db: Database

    def of_video(self, ref: AppRef, input_id: str, base_url: str) -> str:
        """The manifest of a video that has been processed. Raises NotFound, or InvalidInput for anything else."""
        with self.db.read() as tx:
            found = input_rows.get(tx, ref, input_id)
        if found is None:
            raise NotFound(f"There is no input {input_id!r} in app {ref.app_id!r}.")
        if not found.data.HasField("video"):
            raise InvalidInput(f"Input {input_id!r} is no video; only videos have a manifest.")
        if found.status.code != status_code_pb2.INPUT_DOWNLOAD_SUCCESS:
            reason = found.status.details or found.status.description
            raise InvalidInput(f"Video {input_id!r} has no manifest, for it is not processed: {reason}")
        video = shown(found, ref, base_url).data.video
        address = f"{video.hosted.prefix}/orig/{video.hosted.suffix}"
        return PREFIX + base64.b64encode(manifest(video.video_info, address)).decode()


def manifest(info: resources_pb2.VideoInfo, address: str) -> bytes:
    """The XML."""
    length = f"PT{info.duration_seconds:.3f}S"
    root = ElementTree.Element(
        "MPD",
        xmlns=_NAMESPACE,
        type="static",
        profiles=_PROFILE,
        mediaPresentationDuration=length,
        minBufferTime="PT2S",
    )
    period = ElementTree.SubElement(root, "Period", id="0", start="PT0S", duration=length)
    kind = CONTENT_TYPES.get(info.video_format, "application/octet-stream")
    group = ElementTree.SubElement(period, "AdaptationSet", id="0", contentType="video", mimeType=kind)
    rate = Fraction(info.fps).limit_denominator(1001)
    representation = ElementTree.SubElement(
        group,
        "Representation",
        id="original",
        bandwidth=str(max(1, info.bit_rate)),
        width=str(info.width),
        height=str(info.height),
        frameRate=f"{rate.numerator}/{rate.denominator}",
    )
    ElementTree.SubElement(representation, "BaseURL").text = address
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
