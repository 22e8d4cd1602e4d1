"""Oneself: the keys one has, and signing out."""

from __future__ import annotations

from lehr.protocol import resources_pb2
from lehr.web import pieces
from lehr.web.keys import key_made, key_row
from lehr.web.page import Page, Visit


async def build(visit: Visit) -> None:
    """Keys, how to use them, the way out."""
    actions = pieces.title(visit.user_id, "Your keys, for this page and for programs.")
    with actions, pieces.element("form", "", method="post", action="/sign-out"):
        pieces.button("Sign out", icon="logout").props("type=submit")
    keys = (await visit.ask("ListKeys", user_app_id={"user_id": visit.user_id}, page=1, per_page=200)).keys
    own = [key for key in keys if not key.apps]
    with pieces.card("Personal access tokens"):
        pieces.text("Each opens everything that is yours. Give every program its own.", classes="lehr-quiet")
        with pieces.table("Personal access tokens", "For", "Rights", "Made", ""):
            for key in own:
                key_row(visit, key)
        with pieces.row():
            pieces.button("New token", lambda: _ask(visit), icon="vpn_key", kind="main")
    with pieces.card("Use it from code"):
        address = visit.client.base_url
        lines = f"export CLARIFAI_API_BASE={address}\nexport CLARIFAI_USER_ID={visit.user_id}\nexport CLARIFAI_PAT=…"
        pieces.text(lines, tag="pre", classes="lehr-code")


async def _ask(visit: Visit) -> None:
    await key_made(visit, resources_pb2.Key(type="personal_access_token", scopes=["All"]), "New token")


PAGE = Page(path="/account", title="Account", build=build)
