"""The first page: the apps one has, and making another."""

from __future__ import annotations

import re
from collections.abc import Mapping

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from lehr.protocol import resources_pb2
from lehr.protocol.ids import MAX_LENGTH, AppRef
from lehr.web import pieces, words
from lehr.web.client import Refused
from lehr.web.page import Page, Visit, app_path
from lehr.web.workflows import base_workflows

_PER_PAGE = 100


async def build(visit: Visit) -> None:
    """Cards, newest first."""
    number = max(1, int(visit.query("page", "1")) if visit.query("page", "1").isdigit() else 1)
    found = (await visit.ask("ListApps", page=number, per_page=_PER_PAGE)).apps
    with pieces.title("Apps", "An app holds inputs, labels, datasets and what was trained on them."):
        if found or number > 1:
            pieces.button("New app", lambda: ask_for_app(visit), icon="add", kind="main")
    if not found and number == 1:
        with pieces.empty(
            "apps", "No apps yet", "Make one for each thing you want to teach, then drop images into it."
        ):
            pieces.button("Make the first app", lambda: ask_for_app(visit), icon="add", kind="main")
    with pieces.element("div", "lehr-grid"):
        told = {AppRef(app.user_id, app.id): _card(app) for app in found}
    ui.timer(0, lambda: _count(visit, told), once=True)
    if number > 1 or len(found) == _PER_PAGE:
        with pieces.row("lehr-center"):
            if number > 1:
                pieces.link_button("Newer", f"/?page={number - 1}", icon="arrow_back")
            if len(found) == _PER_PAGE:
                pieces.link_button("Older", f"/?page={number + 1}", icon="arrow_forward")


def _card(app: resources_pb2.App) -> TextElement:
    """A way to the app; answers the place for what is in it."""
    ref = AppRef(app.user_id, app.id)
    with pieces.link(app_path(ref), classes="lehr-card lehr-card-link"):
        pieces.text(app.name or app.id, tag="h2", classes="lehr-wrap")
        if app.description:
            pieces.text(app.description, classes="lehr-quiet lehr-wrap")
        with pieces.row():
            if app.name not in ("", app.id):
                pieces.text(app.id, classes="lehr-mono lehr-quiet")
            pieces.text(f"made {words.ago(app.created_at)}", classes="lehr-quiet lehr-small")
        return pieces.text("…", classes="lehr-quiet lehr-wrap")


async def _count(visit: Visit, told: Mapping[AppRef, TextElement]) -> None:
    """Tells what is in each app, once the page is there."""
    for ref, place in told.items():
        user_app = resources_pb2.UserAppIDSet(user_id=ref.user_id, app_id=ref.app_id)
        try:
            counts = await visit.ask("GetResourceCounts", user_app_id=user_app)
        except Refused:  # deleted meanwhile, or a key that may only list
            place.set_text("")
            continue
        nouns = ((counts.inputs, "input"), (counts.datasets, "dataset"), (counts.models, "model"))
        place.set_text(" · ".join(words.counted(number, noun) for number, noun in nouns if number) or "empty")


def id_from(name: str) -> str:
    """An id made of a name: `My first app!` → `My-first-app`."""
    return re.sub(r"[^-_.0-9A-Za-z]+", "-", name).strip("-_.")[:MAX_LENGTH]


async def ask_for_app(visit: Visit) -> None:
    """The window that makes an app, and opens it."""
    workflows = await base_workflows(visit)
    with pieces.dialog("New app") as window, pieces.dialog_card("New app"):
        name = pieces.field("Name", hint="Its id is made of it: letters, digits, - _ .").props("autofocus")
        about = pieces.field("What is it about? (optional)")
        base = pieces.choice(workflows, "Base workflow", next(iter(workflows))) if workflows else None
        if base is not None:
            base.props["hint"] = "It embeds every input, so that search works. It can be changed later."

        async def make() -> None:
            app = resources_pb2.App(id=id_from(name.value), name=name.value, description=about.value)
            if base is not None:
                app.default_workflow_id = base.value
            [made] = (await visit.ask("PostApps", apps=[app])).apps
            visit.go(app_path(AppRef(made.user_id, made.id)))

        name.on("keydown.enter", make)
        with pieces.row("lehr-end"):
            pieces.button("Cancel", window.close)
            pieces.button("Make app", make, kind="main")
    window.open()


PAGE = Page(path="/", title="Apps", build=build)
