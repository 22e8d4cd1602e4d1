"""An app's settings: what it is called, its base workflow, the keys that open it, its end."""

from __future__ import annotations

from lehr.protocol import resources_pb2
from lehr.web import pieces
from lehr.web.keys import key_made, key_row
from lehr.web.page import Page, Tab, Visit
from lehr.web.workflows import base_workflows

_FULL = ("All",)


async def build(visit: Visit) -> None:
    """Cards, the dangerous one last."""
    app = (await visit.ask("GetApp")).app
    pieces.title("Settings")
    with pieces.element("div", "lehr-halves"):
        _about(visit, app)
        await _base(visit, app)
    await _keys(visit)
    with pieces.card("Delete this app"):
        pieces.text("Inputs, labels, datasets and models go with it, for good.", classes="lehr-quiet")
        with pieces.row():
            pieces.button("Delete app", lambda: _delete(visit, app.id), icon="delete", kind="danger")


def _about(visit: Visit, app: resources_pb2.App) -> None:
    with pieces.card("About"):
        name = pieces.field("Name", app.name)
        about = pieces.field("What is it about?", app.description)

        async def save() -> None:
            change = resources_pb2.App(id=app.id, name=name.value, description=about.value)
            await visit.ask("PatchApp", app=change, action="overwrite")
            pieces.say("Saved.")

        with pieces.row():
            pieces.button("Save", save, kind="main")


async def _base(visit: Visit, app: resources_pb2.App) -> None:
    current = app.default_workflow_id or app.default_workflow.id
    options = await base_workflows(visit)
    with pieces.card("Base workflow"):
        told = (
            "It embeds every input, so that search works. After a change the inputs are indexed anew; search goes on."
        )
        pieces.text(told, classes="lehr-quiet")
        if not options:
            pieces.text(current or "none", classes="lehr-mono")
            return
        choice = pieces.choice({**options, **({current: options.get(current, current)} if current else {})}, "Workflow")
        choice.set_value(current or None)

        async def change() -> None:
            if not choice.value or choice.value == current:
                return
            order = resources_pb2.App(id=app.id, default_workflow_id=str(choice.value))
            await visit.ask("PatchApp", app=order, action="overwrite", reindex=True)
            visit.go(visit.under_app("index"))

        with pieces.row():
            pieces.button("Change", change)


async def _keys(visit: Visit) -> None:
    keys = (await visit.ask("ListAppKeys", page=1, per_page=100)).keys
    with pieces.card("Keys of this app"):
        pieces.text("A key of an app opens nothing else. Its secret is shown once.", classes="lehr-quiet")
        if keys:
            with pieces.table("Keys of this app", "For", "Rights", "Made", ""):
                for key in keys:
                    key_row(visit, key)
        with pieces.row():
            pieces.button("New key", lambda: _ask_for_key(visit), icon="vpn_key")


async def _ask_for_key(visit: Visit) -> None:
    app = resources_pb2.App(id=visit.needed_app().app_id, user_id=visit.needed_app().user_id)
    order = resources_pb2.Key(type="app_specific_key", scopes=_FULL, apps=[app])
    await key_made(visit, order, "New key of this app")


async def _delete(visit: Visit, app_id: str) -> None:
    if await pieces.confirmed(f"Delete {app_id}?", "Everything in it will be gone, for good.", "Delete app"):
        await visit.ask("DeleteApp")
        visit.go("/")


PAGE = Page(
    path="/users/{user_id}/apps/{app_id}/settings",
    title="Settings",
    build=build,
    tab=Tab(label="Settings", icon="settings"),
)
