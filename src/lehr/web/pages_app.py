"""NiceGUI set up with every page of `pages/`: the only file that reaches into it.

Two things of NiceGUI's are changed: its page template gets the nonce that our policy asks of inline scripts, and a
page's colour scheme is the one that the browser's cookie names, so that a dark page never flashes white.
"""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI
from jinja2 import BaseLoader, ChoiceLoader, DictLoader
from nicegui import client, run, ui
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from lehr.api.door import Door
from lehr.web.client import Beside
from lehr.web.frame import Frame
from lehr.web.origin import cookie
from lehr.web.page import Page
from lehr.web.pages import PAGES
from lehr.web.theme import COLOUR_SCHEME, HEAD

_TEMPLATE = "index.html"
_NONCE = 'nonce="{{ request.scope.csp_nonce }}"'


def pages_app(door: Door, beside: Beside) -> FastAPI:
    """The application; its lifespan must run around it."""
    _give_nonces()
    run.process_pool_start_method = "spawn"
    ui.add_head_html(HEAD, shared=True)
    frame = Frame(door=door, beside=beside, pages=PAGES)
    for page in PAGES:
        _add(page, frame)
    shell = FastAPI(openapi_url=None)
    ui.run_with(
        shell,
        title="Lehr",
        favicon=None,
        dark=None,
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
        gzip_middleware_factory=None,  # a page's own machine gains nothing by it
        reconnect_timeout=30,
        binding_refresh_interval=None,
    )
    shell.add_middleware(_Themed)
    return shell


def _add(page: Page, frame: Frame) -> None:
    async def shown(request: Request) -> None:
        await frame.show(page, request)

    _Page(page.path, title=f"{page.title} · Lehr", response_timeout=30, reconnect_timeout=30)(shown)


class _Page(ui.page):
    """NiceGUI's, in the colours that this browser asked for."""

    def resolve_dark(self) -> bool | None:
        return COLOUR_SCHEME.get()


class _Themed:
    """Notes the colour scheme of the request that is answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            COLOUR_SCHEME.set({"dark": True, "light": False}.get(cookie(scope, "lehr-theme")))
        await self._app(scope, receive, send)


def _give_nonces() -> None:
    """Every script tag of NiceGUI's page template, and of nothing else, gets the request's nonce."""
    environment: Any = client.templates.env
    loader: BaseLoader = environment.loader
    source, _, _ = loader.get_source(environment, _TEMPLATE)
    changed, number = re.subn(r"<script(?=[\s>])", f"<script {_NONCE}", source)
    assert number > 0, "NiceGUI's page template has no scripts"
    environment.loader = ChoiceLoader([DictLoader({_TEMPLATE: changed}), loader])
    environment.cache.clear()
