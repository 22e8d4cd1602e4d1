"""What surrounds every page: the bar on top, an app's tabs, the footer of errors; and what becomes of a refusal."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from nicegui import ui
from starlette.requests import Request

from lehr.api.door import Door
from lehr.errors import KeyInvalid, LehrError
from lehr.protocol.ids import AppRef
from lehr.web import pieces, theme
from lehr.web.client import Beside, Client, Refused
from lehr.web.origin import cookie, cookie_name
from lehr.web.page import Page, Visit, app_path

log = logging.getLogger("lehr.web")
NOT_FOUND = 404
_SHOW_LIT_TAB = "document.querySelector('.lehr-tab-lit')?.scrollIntoView({inline: 'center', block: 'nearest'})"
"""On a phone the row of tabs is wider than the screen."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Needs the door and what is beside it, and the pages for their tabs."""

    door: Door
    beside: Beside
    pages: Sequence[Page]

    async def show(self, page: Page, request: Request) -> None:
        """Builds the page for this request."""
        client = self._client(request)
        ui.context.client.on_exception(_tell)
        parts = request.path_params
        app = AppRef(parts["user_id"], parts["app_id"]) if "app_id" in parts else None
        try:
            user = (await client.ask("GetUser", user_app_id={"user_id": "me"})).user
            visit = Visit(
                client=client, request=request, user_id=user.id, app=app, state=dict(request.query_params.items())
            )
            if app is not None:
                await visit.ask("GetApp")
        except LehrError as error:
            self._bar(None, request)
            with _main(page):
                _refused(error)
            return
        self._bar(visit, request)
        if app is not None:
            self._tabs(page, app)
            ui.page_title(f"{page.title} · {app.app_id} · Lehr")
        with _main(page):
            await _built(page, visit)

    def _client(self, request: Request) -> Client:
        token = cookie(request.scope, cookie_name(request.scope))
        host = request.headers.get("host", "")
        base_url = f"{request.url.scheme}://{host}"
        return Client(door=self.door, beside=self.beside, token=token, base_url=base_url)

    def _bar(self, visit: Visit | None, request: Request) -> None:
        with ui.header(fixed=False, elevated=False).classes("lehr-bar"), pieces.element("div", "lehr-bar-inside"):
            pieces.skip_link()
            with pieces.link("/", classes="lehr-brand", label="Lehr: all apps"):
                pieces.element("img").props('src="/web/lehr.svg" alt="" width=28 height=28')
                ui.label("Lehr")
            if visit is not None and visit.app is not None:
                pieces.text("/", classes="lehr-slash").props("aria-hidden=true")
                with pieces.link(app_path(visit.app), classes="lehr-bar-app"):
                    ui.label(visit.app.app_id)
            ui.space()
            pieces.icon_button("contrast", "Switch between light and dark").on("click", js_handler=theme.NEXT_SCHEME)
            if visit is not None:
                with pieces.link("/account", classes="lehr-bar-link", label=f"Account of {visit.user_id}"):
                    ui.icon("account_circle").props("aria-hidden=true")
                    ui.label(visit.user_id)

    def _tabs(self, page: Page, app: AppRef) -> None:
        lit = page.tab.label if page.tab else page.under
        with pieces.element("nav", "lehr-tabs").props('aria-label="This app"'):
            for other in self.pages:
                if other.tab is not None:
                    _tab(other, app, is_lit=other.tab.label == lit)
        ui.run_javascript(_SHOW_LIT_TAB)


def _tab(page: Page, app: AppRef, *, is_lit: bool) -> None:
    assert page.tab is not None
    path = page.path.format(user_id=quote(app.user_id), app_id=quote(app.app_id))
    with pieces.link(path, classes="lehr-tab lehr-tab-lit" if is_lit else "lehr-tab") as anchor:
        ui.icon(page.tab.icon).props("aria-hidden=true")
        ui.label(page.tab.label)
    if is_lit:
        anchor.props('aria-current="page"')


def _main(page: Page) -> ui.element:
    return pieces.element("div", "lehr-page lehr-page-wide" if page.wide else "lehr-page").props('id="content"')


async def _built(page: Page, visit: Visit) -> None:
    try:
        await page.build(visit)
    except LehrError as error:
        _refused(error)
    except Exception:
        log.exception("the page %s could not be built", page.path)
        pieces.empty("error_outline", "This page could not be shown", "The server's log says why.")


def _refused(error: LehrError) -> None:
    if _is_signed_out(error):
        ui.navigate.to("/sign-in")
        return
    is_missing = isinstance(error, Refused) and error.http_status == NOT_FOUND
    pieces.empty(
        "search_off" if is_missing else "error_outline", "Not here" if is_missing else "Refused", error.details
    )
    with pieces.row("lehr-center"):
        pieces.link_button("All apps", "/", icon="apps")


def _tell(error: Exception) -> None:
    """An error in an event of the page, in its own words."""
    if isinstance(error, LehrError):
        if _is_signed_out(error):
            ui.navigate.to("/sign-in")
            return
        pieces.warn(error.details)
        return
    log.error("a page's event failed", exc_info=error)
    pieces.warn("Something went wrong here; the server's log says what.")


def _is_signed_out(error: LehrError) -> bool:
    return error.code == KeyInvalid.code
