"""Keys on a page: a line for each, and the window that makes one and shows its secret once."""

from __future__ import annotations

from nicegui import ui

from lehr.protocol import resources_pb2
from lehr.web import pieces, words
from lehr.web.page import Visit


def key_row(visit: Visit, key: resources_pb2.Key) -> None:
    """A line of a table: what for, rights, age, and the button that ends it."""

    async def delete() -> None:
        question = "Whoever uses it is refused from that moment, and browsers signed in with it are signed out."
        if await pieces.confirmed("Delete this key?", question, "Delete key"):
            await visit.ask("DeleteKey", user_app_id={"user_id": visit.user_id}, key_id=key.id)
            visit.reload()

    with pieces.element("tr"):
        pieces.text(key.description or "unnamed", tag="td", classes="lehr-wrap")
        rights = ", ".join(key.scopes[:3]) + (", …" if len(key.scopes) > 3 else "")
        pieces.text("everything" if "All" in key.scopes else rights, tag="td", classes="lehr-quiet lehr-wrap")
        pieces.text(words.ago(key.created_at), tag="td", classes="lehr-quiet")
        with pieces.element("td", "lehr-number"):
            pieces.icon_button("delete", f"Delete the key {key.description or key.id[:6]}", delete)


async def key_made(visit: Visit, order: resources_pb2.Key, heading: str) -> None:
    """Asks what the key is for, makes it, and shows its secret until the window is closed."""
    with pieces.dialog(heading) as window, pieces.dialog_card(heading) as card:
        about = pieces.field("What is it for?", hint="So that you know later which to delete").props("autofocus")

        async def make() -> None:
            order.description = about.value
            [made] = (await visit.ask("PostKeys", user_app_id={"user_id": visit.user_id}, keys=[order])).keys
            card.clear()
            with card:
                _shown_once(visit, made.id)

        about.on("keydown.enter", make)
        with pieces.row("lehr-end"):
            pieces.button("Cancel", window.close)
            pieces.button("Make key", make, kind="main")
    window.props("persistent")
    window.open()


def _shown_once(visit: Visit, secret: str) -> None:
    pieces.text("Your new key", tag="h2")
    pieces.text("Copy it now: it is not stored and will not be shown again.")
    with pieces.element("div", "lehr-secret"):
        pieces.text(secret, classes="lehr-mono lehr-grow").props('data-testid="secret"')
        pieces.icon_button("content_copy", "Copy the key", lambda: _copied(secret))
    with pieces.row("lehr-end"):
        pieces.button("Done", visit.reload, kind="main")


def _copied(secret: str) -> None:
    ui.clipboard.write(secret)
    pieces.say("Copied.")
