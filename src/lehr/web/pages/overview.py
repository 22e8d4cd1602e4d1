"""An app at a glance: how much there is of what, what is being worked on, how much it keeps, what to do next."""

from __future__ import annotations

from collections.abc import Iterator

from nicegui import ui

from lehr.protocol import resources_pb2, status_code_pb2
from lehr.services.storage import Stored
from lehr.web import pieces, words
from lehr.web.app_facts import MOST, how_many
from lehr.web.page import Page, Tab, Visit

_LOOK_SECONDS = 3


async def build(visit: Visit) -> None:
    """Figures, work, next step."""
    app = (await visit.ask("GetApp")).app
    counts = (await visit.ask("GetInputCount")).counts
    pieces.title(app.name or app.id, app.description)
    await _figures(visit, counts)
    if not counts.processed + counts.to_process + counts.processing + counts.errors:
        with pieces.empty("photo_library", "Nothing to learn from yet", "Begin with images: drop a folder of them."):
            pieces.link_button("Add inputs", visit.under_app("inputs"), icon="add_photo_alternate", kind="main")
    with pieces.element("div", "lehr-halves"):
        with pieces.element("div", "lehr-stack"):
            await _work(visit)
            await _about(visit, app)
        _storage(visit)


async def _figures(visit: Visit, counts: resources_pb2.InputCount) -> None:
    total = counts.processed + counts.to_process + counts.processing + counts.errors
    with pieces.element("div", "lehr-figures"):
        pieces.figure(words.count(total), "inputs", visit.under_app("inputs"))
        pieces.figure(await how_many(visit, "ListConcepts", "concepts"), "concepts")
        pieces.figure(await how_many(visit, "ListDatasets", "datasets"), "datasets", visit.under_app("datasets"))
        pieces.figure(await how_many(visit, "ListModels", "models"), "models", visit.under_app("models"))
        if counts.errors:
            pieces.figure(words.count(counts.errors), "refused inputs", visit.under_app("inputs") + "?state=bad")


Line = tuple[str, str, str]
"""What is worked on, how far it is, and the badge's kind."""


async def _work(visit: Visit) -> None:
    """Everything of this app that waits or runs, live."""
    lines = await _lines(visit)

    def draw(_: pieces.Redrawn) -> None:
        if not lines:
            pieces.text("Nothing waits and nothing runs.", classes="lehr-quiet")
        for what, how, kind in lines:
            with pieces.element("div", "lehr-line lehr-spread"):
                pieces.text(what, classes="lehr-wrap")
                pieces.badge(how, kind)

    with pieces.card("What is being worked on"):
        drawn = pieces.Redrawn(draw)

    async def look() -> None:
        now = await _lines(visit)
        if now != lines:
            lines[:] = now
            drawn.draw()

    visit.every(_LOOK_SECONDS, look)


async def _lines(visit: Visit) -> list[Line]:
    found = [*_of_inputs((await visit.ask("GetInputCount")).counts)]
    models = (await visit.ask("ListModels", page=1, per_page=100)).models
    return found + [line for model in models for line in _of_model(model)]


def _of_inputs(counts: resources_pb2.InputCount) -> Iterator[Line]:
    waiting = counts.to_process + counts.processing
    if waiting:
        yield f"{words.counted(waiting, 'input')} being read", "running", "busy"
    left = counts.to_reindex + counts.reindexing
    if left:
        done = counts.reindexed
        yield "Search index being built", f"{words.count(done)} of {words.count(done + left)}", "busy"
    if counts.reindex_errors:
        yield f"{words.counted(counts.reindex_errors, 'input')} could not be indexed", "look at the log", "bad"


def _of_model(model: resources_pb2.Model) -> Iterator[Line]:
    status = model.model_version.status
    if status.code == status_code_pb2.MODEL_TRAINING:
        yield f"Training {model.id}", f"{status.percent_completed} %", "busy"
    elif status.code == status_code_pb2.MODEL_QUEUED_FOR_TRAINING:
        yield f"Training {model.id}", "waits", "plain"


def _storage(visit: Visit) -> None:
    """What belongs to the app, in bytes; added up once the page is there."""
    told: list[Stored] = []

    def draw(_: pieces.Redrawn) -> None:
        if told:
            _sums(told[0])
        else:
            pieces.text("Being added up …", classes="lehr-quiet")

    with pieces.card("Storage"):
        drawn = pieces.Redrawn(draw)

    async def add_up() -> None:
        told.append(await visit.storage())
        drawn.draw()

    ui.timer(0, add_up, once=True)


def _sums(stored: Stored) -> None:
    with pieces.element("div", "lehr-line"):
        pieces.text(words.size(stored.total), classes="lehr-figure-number")
        told = (
            f"in {words.counted(stored.num_blobs, 'file')}{'' if stored.is_complete else '; more are being measured'}"
        )
        pieces.text(told, classes="lehr-quiet lehr-wrap").props("role=status")
    with pieces.element("dl", "lehr-facts"):
        for name, num_bytes in (
            ("Media of inputs and dataset versions", stored.media),
            ("Trained models and their exports", stored.models),
            ("Checkpoints", stored.checkpoints),
            ("Evaluations and training sets", stored.evaluations),
            ("Uploads, archives and dataset exports", stored.transfers),
        ):
            if num_bytes:
                pieces.text(name, tag="dt")
                pieces.text(words.size(num_bytes), tag="dd", classes="lehr-number")
    if stored.shared:
        told = f"{words.size(stored.shared)} of the media another app has too; they are stored once for both."
        pieces.text(told, classes="lehr-quiet lehr-small")


async def _about(visit: Visit, app: resources_pb2.App) -> None:
    base = app.default_workflow_id or app.default_workflow.id
    with pieces.card("About"), pieces.element("dl", "lehr-facts"):
        for name, value, path in (
            ("Id", app.id, ""),
            ("Owner", app.user_id, ""),
            ("Base workflow", base or "none", visit.under_app("index")),
            ("Keys", await _keys(visit), visit.under_app("settings")),
            ("Made", words.ago(app.created_at), ""),
        ):
            pieces.text(name, tag="dt")
            with pieces.element("dd"):
                if path:
                    pieces.text_link(value, path)
                else:
                    pieces.text(value, tag="span")


async def _keys(visit: Visit) -> str:
    """How many keys are for this app alone."""
    found = (await visit.ask("ListAppKeys", page=1, per_page=MOST)).keys
    return f"{words.count(len(found))} for this app alone" if found else "none for this app alone"


PAGE = Page(
    path="/users/{user_id}/apps/{app_id}", title="Overview", build=build, tab=Tab(label="Overview", icon="dashboard")
)
