"""Small pictures of inputs by their ids: asked for once a page, shown in a strip that leads to each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from lehr.protocol import resources_pb2
from lehr.web import pieces
from lehr.web.page import Visit

_AT_ONCE = 500


class Thumbnails:
    """What is known so far, for one browser."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._known: dict[str, str] = {}

    async def fetch(self, ids: Iterable[str]) -> None:
        """Finds the addresses of those that are not known yet; an input that went has none."""
        missing = list(dict.fromkeys(each for each in ids if each not in self._known))
        for start in range(0, len(missing), _AT_ONCE):
            some = missing[start : start + _AT_ONCE]
            found = (await self._visit.ask("ListInputs", ids=some, page=1, per_page=_AT_ONCE)).inputs
            self._known.update({each: "" for each in some})
            self._known.update({each.id: address_of(each) for each in found})

    def know(self, addresses: Mapping[str, str]) -> None:
        """What was found out elsewhere: addresses by input id."""
        self._known.update(addresses)

    def of(self, input_id: str) -> str:
        """The path of a picture; empty where there is none."""
        return self._known.get(input_id, "")


def address_of(input_: resources_pb2.Input, size: str = "small") -> str:
    """The path of an input's picture on this server; empty where it has none here."""
    hosted = input_.data.image.hosted if input_.data.HasField("image") else input_.data.video.hosted
    if not hosted.prefix or (input_.data.HasField("video") and size not in hosted.sizes):
        return ""
    chosen = size if size in hosted.sizes else "orig"
    return f"{urlsplit(hosted.prefix).path}/{chosen}/{hosted.suffix}"


def strip(visit: Visit, ids: Sequence[str], thumbnails: Thumbnails) -> None:
    """The pictures in a row, each a link to its input."""
    with pieces.element("div", "lehr-strip"):
        for each in ids:
            with pieces.link(visit.under_app("inputs", each), classes="lehr-thumb", label=f"Input {each}"):
                if thumbnails.of(each):
                    pieces.element("img", src=thumbnails.of(each), alt="", loading="lazy")
                else:
                    pieces.icon("image_not_supported")
