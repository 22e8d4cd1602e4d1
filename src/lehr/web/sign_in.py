"""Signing in and out: plain forms without scripts, so that a stranger gets neither a websocket nor NiceGUI."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from lehr.errors import LehrError
from lehr.services.sessions import LIFETIME_SECONDS, Sessions
from lehr.web.origin import PLAIN_POLICY, STRICT_HEADERS, cookie, cookie_name, is_from_our_page

HEADERS = {**STRICT_HEADERS, "Content-Security-Policy": PLAIN_POLICY, "Cache-Control": "no-store"}
_MAX_KEY = 4096
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sign in · Lehr</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="/web/lehr.svg"><link rel="stylesheet" href="/web/plain.css"></head>
<body><main class="card">
<img src="/web/lehr.svg" alt="" width="56" height="56"><h1>Sign in to Lehr</h1>
<p>Your key was shown when the server started for the first time.
It stays in this browser as a session, not as a key.</p>
{problem}<form method="post" action="/sign-in" autocomplete="on">
<input type="hidden" name="next" value="{next}">
<label for="key">Personal access token</label>
<input id="key" name="key" type="password" required autofocus autocomplete="current-password" spellcheck="false"
{described}>
<button type="submit">Sign in</button></form>
<p class="hint">Lost it? On the server, <code>lehr keys --new NAME</code> makes another.</p>
</main></body></html>
"""
_NOTICE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title} · Lehr</title>{refresh}
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="/web/lehr.svg"><link rel="stylesheet" href="/web/plain.css"></head>
<body><main class="card"><img src="/web/lehr.svg" alt="" width="56" height="56">
<h1>{title}</h1><p>{text}</p></main></body></html>
"""


@dataclass(frozen=True, kw_only=True)
class SignIn:
    """Needs the sessions."""

    sessions: Sessions

    async def page(self, request: Request) -> Response:
        """`/sign-in`: the form, and what it sends."""
        if request.method != "POST":
            return _form(_inside(request.query_params.get("next", "")))
        if not is_from_our_page(request.scope, needs_origin=True):
            return PlainTextResponse("This form was sent by another site.", status_code=403, headers=HEADERS)
        async with request.form(max_files=0, max_fields=4) as form:
            key, after = str(form.get("key", "")), _inside(str(form.get("next", "")))
        try:
            token = await run_in_threadpool(self.sessions.open, key[:_MAX_KEY])
        except LehrError as error:
            return _form(after, error.details)
        answer = RedirectResponse(after, status_code=303, headers=HEADERS)
        _set(answer, request, token, LIFETIME_SECONDS)
        return answer

    async def out(self, request: Request) -> Response:
        """`POST /sign-out`."""
        if request.method != "POST" or not is_from_our_page(request.scope, needs_origin=True):
            return PlainTextResponse("Sign out with the page's own button.", status_code=403, headers=HEADERS)
        token = cookie(request.scope, cookie_name(request.scope))
        await run_in_threadpool(self.sessions.close, token)
        answer = RedirectResponse("/sign-in", status_code=303, headers=HEADERS)
        _set(answer, request, "", 0)
        return answer


def to_sign_in(path: str, query: str) -> Response:
    """Where a stranger is sent; signing in leads back."""
    wanted = f"{path}?{query}" if query else path
    suffix = f"?next={quote(wanted, safe='')}" if wanted != "/" else ""
    return RedirectResponse(f"/sign-in{suffix}", status_code=303, headers=HEADERS)


def notice(title: str, text: str, *, again_seconds: int | None = None, status_code: int = 503) -> Response:
    """A page that says one thing; with `again_seconds` it asks again by itself."""
    refresh = "" if again_seconds is None else f'<meta http-equiv="refresh" content="{again_seconds}">'
    page = _NOTICE.format(title=escape(title), text=escape(text), refresh=refresh)
    return HTMLResponse(page, status_code=status_code, headers=HEADERS)


def _form(after: str, problem: str = "") -> Response:
    shown = f'<p class="problem" id="problem" role="alert">{escape(problem)}</p>' if problem else ""
    described = 'aria-invalid="true" aria-describedby="problem"' if problem else ""
    page = _PAGE.format(next=escape(after, quote=True), problem=shown, described=described)
    return HTMLResponse(page, status_code=401 if problem else 200, headers=HEADERS)


def _inside(path: str) -> str:
    """The path, if it leads to a page of ours: no other host, no header in disguise."""
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path
    return quote(path, safe="/?=&%-_.~+,:@!$'()*;") if is_ours else "/"


def _set(answer: Response, request: Request, token: str, seconds: int) -> None:
    answer.set_cookie(
        cookie_name(request.scope),
        token,
        max_age=seconds,
        path="/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
