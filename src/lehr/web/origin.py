"""Who sent a request: the cookie that a browser holds, the origin it speaks for, the headers every page answers with.

A cookie alone never changes anything: forms and websockets must come from a page of ours, and the API takes a cookie
only beside a header that a foreign page cannot send.
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers
from starlette.types import Scope

PAGE_HEADER = "x-lehr-page"
"""Sent by our own scripts with every call of the REST face; a foreign page may not send it without our leave."""
STRICT_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
PLAIN_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""Of pages without scripts."""


def page_policy(nonce: str, host: str) -> str:
    """Of pages with scripts: ours only, no frames, no addresses but our own.

    'unsafe-eval' is what NiceGUI costs: Vue compiles its templates, and NiceGUI its handlers, in the browser. Inline
    styles are Quasar's. `ws:` is named because Safari does not count a websocket as 'self'.
    """
    return (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' blob: data:; media-src 'self' blob:; font-src 'self'; "
        f"connect-src 'self' ws://{host} wss://{host}; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )


def headers_of(scope: Scope) -> Headers:
    """The request's headers."""
    return Headers(scope=scope)


def cookie_name(scope: Scope) -> str:
    """Cookies know no ports: two servers on one machine would sign each other's browsers out under one name."""
    server = scope.get("server") or ("", 0)
    return f"lehr-session-{server[1]}"


def cookie(scope: Scope, name: str) -> str:
    """A cookie's value; empty where there is none."""
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(headers_of(scope).get("cookie", ""))
    except CookieError:
        return ""
    return jar[name].value if name in jar else ""


def is_from_our_page(scope: Scope, *, needs_origin: bool) -> bool:
    """Whether a page of ours sent it, as far as browsers tell; `needs_origin`: one that does not tell is not."""
    headers = headers_of(scope)
    site, origin = headers.get("sec-fetch-site", ""), headers.get("origin", "")
    if site not in ("", "same-origin", "none"):
        return False
    if origin:
        return origin.partition("://")[2] == headers.get("host", "")
    return not needs_origin
