"""What a page is, and what it may do for the browser that looks at it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from nicegui import ui
from starlette.requests import Request

from lehr.protocol import resources_pb2, service_pb2
from lehr.protocol.ids import AppRef
from lehr.services.dataset_health import Health
from lehr.services.storage import Stored
from lehr.web.client import Client, in_thread, takes_app


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One browser looking at one page."""

    client: Client
    request: Request
    user_id: str
    """Who signed in."""
    app: AppRef | None
    """The app in the page's address."""
    state: dict[str, str] = field(default_factory=dict)
    """The address's query, as it is now."""

    async def ask(self, name: str, **fields: Any) -> Any:
        """The door's answer to the RPC with these fields; `user_app_id` is the page's app or user. Raises Refused."""
        if takes_app(name) and "user_app_id" not in fields:
            fields["user_app_id"] = self.user_app
        return await self.client.ask(name, **fields)

    async def health(self, dataset_id: str, *, anew: bool = False) -> Health:
        """A dataset's health report, for whoever may read the dataset; `anew` has another one made. Raises Refused."""
        await self.ask("GetDataset", dataset_id=dataset_id)
        reports, ref = self.client.beside.health, self.needed_app()
        if anew:
            await in_thread(reports.request, ref, dataset_id)
        return await in_thread(reports.get, ref, dataset_id)

    async def base(self) -> tuple[resources_pb2.Workflow | None, list[dict[str, Any]]]:
        """The app's base workflow, and the generations of its index, newest first. Raises Refused."""
        await self.ask("GetApp")
        return await in_thread(self.client.beside.bases.current, self.needed_app())

    async def storage(self) -> Stored:
        """How many bytes the app keeps. Raises Refused."""
        await self.ask("GetApp")
        return await in_thread(self.client.beside.storage.of, self.needed_app())

    async def drop_generation(self, number: int) -> None:
        """Lets go of a generation of the index that was put aside. Raises LehrError."""
        request = service_pb2.PatchAppRequest(user_app_id=self.user_app)
        await in_thread(self.client.admit, "PatchApp", request)
        await in_thread(self.client.beside.bases.drop, self.needed_app(), number)

    @property
    def user_app(self) -> resources_pb2.UserAppIDSet:
        """The app of this page as the protocol names it."""
        if self.app is None:
            return resources_pb2.UserAppIDSet(user_id=self.user_id)
        return resources_pb2.UserAppIDSet(user_id=self.app.user_id, app_id=self.app.app_id)

    def needed_app(self) -> AppRef:
        """The app; for pages that lie under one."""
        assert self.app is not None
        return self.app

    def part(self, name: str) -> str:
        """A part of the page's path: `input_id` of `…/inputs/{input_id}`."""
        return str(self.request.path_params[name])

    def query(self, name: str, otherwise: str = "") -> str:
        """A value in the address's query."""
        return self.state.get(name, otherwise)

    def remember(self, **values: str) -> None:
        """Writes values into the address, without loading anything; empty ones leave it."""
        self.state.update(values)
        for name in [name for name, value in self.state.items() if not value]:
            del self.state[name]
        ui.navigate.history.replace(self.address())

    def address(self) -> str:
        """This page with its state."""
        path = quote(self.request.url.path)
        return f"{path}?{urlencode(self.state)}" if self.state else path

    def go(self, path: str) -> None:
        """Opens another page of ours."""
        ui.navigate.to(path)

    def reload(self) -> None:
        """Shows this page anew."""
        ui.navigate.to(self.address())

    def under_app(self, *parts: str) -> str:
        """The path of something in the page's app: `under_app("inputs", id)`."""
        return app_path(self.needed_app(), *parts)

    def every(self, seconds: float, refresh: Callable[[], Awaitable[None]]) -> ui.timer:
        """Calls `refresh` again and again while the page is open; the next call waits for the last."""
        return ui.timer(seconds, refresh, immediate=False)


def app_path(ref: AppRef, *parts: str) -> str:
    """The path of a page under an app."""
    return "/".join(
        ["/users", quote(ref.user_id), "apps", quote(ref.app_id), *(quote(part, safe="") for part in parts)]
    )


Build = Callable[[Visit], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Tab:
    """A page's entry in an app's row of tabs."""

    label: str
    icon: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page: where it is, what builds it, and which tab is lit while it is shown."""

    path: str
    title: str
    build: Build
    tab: Tab | None = None
    """Set for pages that have a tab of their own."""
    under: str = ""
    """The label of the tab that this page lies under, where it has none."""
    wide: bool = False
    """Takes the whole width, as galleries do."""
