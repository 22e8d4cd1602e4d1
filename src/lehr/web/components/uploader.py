"""Where files are dropped: the browser sends them to the public calls by itself and tells when it is done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui.element import Element

from lehr.protocol.ids import AppRef

Uploaded = Callable[[dict[str, int]], Awaitable[None]]


class Uploader(Element, component="uploader.js"):
    """A place to drop files; into `dataset` too, if one is named."""

    def __init__(self, *, app: AppRef, dataset: str = "") -> None:
        super().__init__()
        self.props.update(
            {
                "app": {"user_id": app.user_id, "app_id": app.app_id},
                "dataset": dataset,
            }
        )

    def on_uploaded(self, act: Uploaded) -> None:
        """Calls `act` with how many were `added` and `refused`, and how many `archives` the server now unpacks."""

        async def ended(event: Any) -> None:
            await act({name: int(event.args.get(name, 0)) for name in ("added", "refused", "archives")})

        self.on("uploaded", ended)
