"""What strangers and other sites get from the web page: nothing."""

from __future__ import annotations

import re
from http.cookies import SimpleCookie

import httpx
import pytest
from lehr_server import TOKEN, Server, wait_until
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect


@pytest.fixture
def signed_in(server: Server) -> httpx.Client:
    """A client without scripts that holds the cookie."""
    client = httpx.Client(base_url=server.base)
    answer = client.post("/sign-in", data={"key": TOKEN, "next": "/account"}, headers={"Origin": server.base})
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")
    yield client
    client.close()


def test_the_cookie_is_strict_and_out_of_scripts_reach_and_not_the_key(signed_in: httpx.Client, server: Server):
    answer = httpx.post(f"{server.base}/sign-in", data={"key": TOKEN}, headers={"Origin": server.base})
    [morsel] = SimpleCookie(answer.headers["set-cookie"]).values()
    assert morsel["httponly"]
    assert morsel["samesite"].lower() == "strict"
    assert morsel["path"] == "/"
    assert not morsel["domain"]
    assert TOKEN not in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_another_sites_form_signs_nobody_in_or_out(signed_in: httpx.Client, server: Server, headers: dict[str, str]):
    assert httpx.post(f"{server.base}/sign-in", data={"key": TOKEN}, headers=headers).status_code == 403
    assert signed_in.post("/sign-out", headers=headers).status_code == 403
    assert signed_in.get("/v2/users/me", headers={"X-Lehr-Page": "1"}).status_code == 200


@pytest.mark.parametrize(
    "next_", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:1", "/a\r\nb: c"]
)
def test_signing_in_leads_to_no_other_site(server: Server, next_: str):
    answer = httpx.post(f"{server.base}/sign-in", data={"key": TOKEN, "next": next_}, headers={"Origin": server.base})
    assert answer.headers["location"] == "/"


def test_a_wrong_key_is_a_sentence(server: Server):
    answer = httpx.post(f"{server.base}/sign-in", data={"key": "<b>no</b>"}, headers={"Origin": server.base})
    assert answer.status_code == 401
    assert "mistyped, deleted or expired" in answer.text
    assert "<b>no" not in answer.text
    assert "set-cookie" not in answer.headers


def test_the_api_takes_the_cookie_only_beside_the_header_of_our_own_scripts(signed_in: httpx.Client):
    assert signed_in.get("/v2/users/me").status_code == 401
    assert signed_in.get("/v2/users/me", headers={"X-Lehr-Page": "1"}).status_code == 200
    foreign = {"X-Lehr-Page": "1", "Origin": "https://evil.example"}
    assert signed_in.get("/v2/users/me", headers=foreign).status_code == 401
    assert signed_in.get("/v2/users/me", headers={"X-Lehr-Page": "1", "Authorization": "Key no"}).status_code == 401
    answer = signed_in.options("/v2/users/me", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_runs_only_our_scripts_and_is_framed_by_nobody(signed_in: httpx.Client):
    answer = _page(signed_in, "/account")
    policy = answer.headers["content-security-policy"]
    nonce = re.search(r"'nonce-([^']+)'", policy)[1]
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    scripts = re.findall(r"<script\b[^>]*>", answer.text)
    assert scripts
    assert all(f'nonce="{nonce}"' in tag for tag in scripts)
    assert nonce not in _page(signed_in, "/account").text
    assert not re.search(r"https?://(?!127\.0\.0\.1)[\w.-]+\.(js|css|woff)", answer.text)


def _page(client: httpx.Client, path: str) -> httpx.Response:
    """The page, once NiceGUI has been loaded."""
    return wait_until(lambda: (answer := client.get(path)).status_code != 202 and answer, what="the page")


@pytest.mark.parametrize("path", ["/", "/account", "/users/lehr/apps/flowers/inputs?dataset=a"])
def test_a_stranger_is_sent_to_sign_in(server: Server, path: str):
    answer = httpx.get(server.base + path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in")


@pytest.mark.parametrize("origin", [None, "https://evil.example"])
def test_a_websocket_of_another_site_is_refused(signed_in: httpx.Client, server: Server, origin: str | None):
    _page(signed_in, "/")
    url = f"ws://127.0.0.1:{server.port}/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    cookie = "; ".join(f"{name}={value}" for name, value in signed_in.cookies.items())
    with pytest.raises(InvalidStatus) as refused:
        connect(url, origin=origin, additional_headers={"Cookie": cookie})
    assert refused.value.response.status_code == 403
    with pytest.raises(InvalidStatus):
        connect(url, origin=server.base)  # ours, but without the cookie
    with connect(url, origin=server.base, additional_headers={"Cookie": cookie}) as socket:
        assert str(socket.recv()).startswith("0{")


def test_static_files_are_only_ours(server: Server):
    assert httpx.get(f"{server.base}/web/lehr.css").status_code == 200
    assert httpx.get(f"{server.base}/web/../site.py").status_code == 404
    assert httpx.get(f"{server.base}/web/%2e%2e/site.py").status_code == 404
    assert httpx.get(f"{server.base}/_nicegui/3/static/nicegui.js").status_code == 401
