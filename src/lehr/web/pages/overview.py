"""An app at a glance: how much there is of what, what is being worked on, what to do next."""

from __future__ import annotations

from collections.abc import Iterator

from lehr.protocol import resources_pb2, status_code_pb2
from lehr.web import pieces, words
from lehr.web.app_facts import how_many
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
        await _work(visit)
        _about(app)


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


def _about(app: resources_pb2.App) -> None:
    with pieces.card("About"), pieces.element("dl", "lehr-facts"):
        for name, value in (
            ("Id", app.id),
            ("Owner", app.user_id),
            ("Base workflow", app.default_workflow_id or app.default_workflow.id or "none"),
            ("Made", words.ago(app.created_at)),
        ):
            pieces.text(name, tag="dt")
            pieces.text(value, tag="dd")


PAGE = Page(
    path="/users/{user_id}/apps/{app_id}", title="Overview", build=build, tab=Tab(label="Overview", icon="dashboard")
)
