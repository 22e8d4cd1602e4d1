"""The web page as one ASGI application in front of the API: signing in, files of ours, and NiceGUI behind both.

NiceGUI takes two seconds to import, so that happens in a thread when a page is first asked for; whoever asks meanwhile
sees a page that asks again. Nobody reaches it without a session. What is none of its paths goes to the API untouched,
save that a call by one of our own scripts brings its cookie along as a key.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lehr.api.door import Door
from lehr.errors import KeyInvalid
from lehr.services.sessions import Sessions
from lehr.web.client import Beside
from lehr.web.origin import (
    PAGE_HEADER,
    STRICT_HEADERS,
    cookie,
    cookie_name,
    headers_of,
    is_from_our_page,
    page_policy,
)
from lehr.web.sign_in import SignIn, notice, to_sign_in

log = logging.getLogger("lehr.web")

STATIC = Path(__file__).parent / "static"
_PAGES = frozenset({"", "users", "account", "jobs", "_nicegui", "_nicegui_ws"})
"""First segments of NiceGUI's paths."""
_OPEN = frozenset({"sign-in", "sign-out", "web"})
"""First segments of what needs no session."""
_FILES = ("hosted", "logs", "exports")
"""First segments of what a browser fetches by an address in an answer of the API."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """NiceGUI with our pages, and what starts and stops it."""

    app: ASGIApp
    running: AbstractAsyncContextManager[object]


class Site:
    """Needs the door and what pages show beside it, the sessions, and the API for the rest."""

    def __init__(self, *, door: Door, sessions: Sessions, beside: Beside, api: ASGIApp) -> None:
        self._door, self._sessions, self._beside, self._api = door, sessions, beside, api
        sign_in = SignIn(sessions=sessions)
        self._open = Starlette(
            routes=[
                Route("/sign-in", sign_in.page, methods=["GET", "POST"]),
                Route("/sign-out", sign_in.out, methods=["POST"]),
                Mount("/web", StaticFiles(directory=STATIC)),
            ]
        )
        self._loading: asyncio.Task[Loaded] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, websocket, or the server's start and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        first = scope["path"].lstrip("/").partition("/")[0]
        if first in _OPEN and scope["type"] == "http":
            await self._open(scope, receive, _with_headers(send, {"X-Content-Type-Options": "nosniff"}))
        elif first in _PAGES:
            await self._pages(scope, receive, send)
        elif scope["path"] == "/favicon.ico":
            await PlainTextResponse("", status_code=204)(scope, receive, send)
        else:
            await self._api(_with_key(scope, first), receive, send)

    # -- pages -------------------------------------------------------------------------------------------------------

    async def _pages(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = await self._refusal(scope)
        if refusal is not None:
            await _refuse(refusal, scope, receive, send)
            return
        nonce = secrets.token_urlsafe(16)
        scope["csp_nonce"] = nonce
        policy = page_policy(nonce, headers_of(scope).get("host", ""))
        loaded = self._loaded()
        assert loaded is not None
        await loaded.app(scope, receive, _with_headers(send, {**STRICT_HEADERS, "Content-Security-Policy": policy}))

    async def _refusal(self, scope: Scope) -> Response | None:
        """What is answered in the page's place, if anything."""
        is_socket = scope["type"] == "websocket" or scope["path"].startswith("/_nicegui_ws")
        if is_socket and not is_from_our_page(scope, needs_origin=scope["type"] == "websocket"):
            return PlainTextResponse("This connection was opened by another site.", status_code=403)
        token = cookie(scope, cookie_name(scope))
        try:
            await run_in_threadpool(self._sessions.identify, token)
        except KeyInvalid:
            is_page = scope["type"] == "http" and not scope["path"].startswith("/_nicegui")
            query = scope["query_string"].decode("latin-1")
            return to_sign_in(scope["path"], query) if is_page else PlainTextResponse("Sign in.", status_code=401)
        return self._not_yet()

    # -- NiceGUI -----------------------------------------------------------------------------------------------------

    def _loaded(self) -> Loaded | None:
        is_there = self._loading is not None and self._loading.done() and self._loading.exception() is None
        return self._loading.result() if is_there and self._loading is not None else None

    def _not_yet(self) -> Response | None:
        """None once the pages are there; begins to load them at the first call."""
        if self._loading is None:
            self._loading = asyncio.create_task(self._load())
        if not self._loading.done():
            return notice("Lehr is starting", "The page comes by itself in a moment.", again_seconds=1, status_code=202)
        if self._loading.exception() is not None:
            return notice("The page cannot be shown", "Its parts could not be loaded; the server's log says why.")
        return None

    async def _load(self) -> Loaded:
        try:
            loaded = await asyncio.to_thread(_load, self._door, self._beside)
            await loaded.running.__aenter__()
        except Exception:
            log.exception("the web page could not be loaded")
            raise
        return loaded

    async def _live(self, receive: Receive, send: Send) -> None:
        """Nothing to start; at the end NiceGUI is stopped if it ever began."""
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        loaded = self._loaded()
        if loaded is not None:
            await loaded.running.__aexit__(None, None, None)
        await send({"type": "lifespan.shutdown.complete"})


def _load(door: Door, beside: Beside) -> Loaded:
    from lehr.web.pages_app import pages_app  # NiceGUI: two seconds

    app = pages_app(door, beside)
    return Loaded(app=app, running=app.router.lifespan_context(app))


async def _refuse(refusal: Response, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
    else:
        await refusal(scope, receive, send)


def _with_headers(send: Send, headers: dict[str, str]) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            found = MutableHeaders(scope=message)
            for name, value in headers.items():
                found.setdefault(name, value)
        await send(message)

    return sending


def _with_key(scope: Scope, first: str) -> Scope:
    """The scope with the session as its key, where a page of ours asks and brings no other key."""
    if scope["type"] != "http":
        return scope
    headers = headers_of(scope)
    is_ours = PAGE_HEADER in headers or (first in _FILES and scope["method"] == "GET")
    token = cookie(scope, cookie_name(scope)) if is_ours and "authorization" not in headers else ""
    if not token or not is_from_our_page(scope, needs_origin=False):
        return scope
    return {**scope, "headers": [*scope["headers"], (b"authorization", f"Key {token}".encode("latin-1"))]}
