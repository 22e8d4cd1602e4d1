"""An app's models: of what type, how their newest versions stand and what they reached."""

from __future__ import annotations

from lehr.protocol import resources_pb2
from lehr.web import learned, pieces, words
from lehr.web.page import Page, Tab, Visit

_PER_PAGE = 200
_LOOK_SECONDS = 2.0


async def build(visit: Visit) -> None:
    """A table, last changed first; live while anything trains."""
    found = await _models(visit)
    with pieces.title("Models", "What was trained here, and what each newest version reached on pictures kept back."):
        if found:
            pieces.link_button("Train a model", visit.under_app("train"), icon="add", kind="main")
    if not found:
        advice = "A model learns from labelled inputs: choose what it shall do, and a template to train it with."
        with pieces.empty("school", "No models yet", advice):
            pieces.link_button("Train the first model", visit.under_app("train"), icon="add", kind="main")
        return
    titles = await type_titles(visit)

    def draw(_: pieces.Redrawn) -> None:
        with pieces.table("Models", "Model", "Type", "Newest version", "Result", "Changed"):
            for model in found:
                _row(visit, model, titles)

    with pieces.card():
        shown = pieces.Redrawn(draw)

    async def look() -> None:
        if any(learned.is_active(model.model_version) for model in found):
            found[:] = await _models(visit)
            shown.draw()

    visit.every(_LOOK_SECONDS, look)


async def _models(visit: Visit) -> list[resources_pb2.Model]:
    return list((await visit.ask("ListModels", page=1, per_page=_PER_PAGE)).models)


async def type_titles(visit: Visit) -> dict[str, str]:
    """Model type id → its title."""
    found = (await visit.ask("ListModelTypes", page=1, per_page=100)).model_types
    return {each.id: each.title for each in found}


def _row(visit: Visit, model: resources_pb2.Model, titles: dict[str, str]) -> None:
    version = model.model_version
    with pieces.element("tr"):
        with pieces.element("td", "lehr-wrap"):
            pieces.text_link(model.id, visit.under_app("models", model.id))
            if model.description:
                pieces.text(model.description, classes="lehr-quiet lehr-small")
        pieces.text(titles.get(model.model_type_id, model.model_type_id), tag="td")
        with pieces.element("td"):
            state_badge(version)
        with pieces.element("td"):
            best = learned.figures(model.model_type_id, version.metrics.summary)[:1]
            for name, value in best:
                pieces.text(f"{name} {value:.3f}", tag="span")
        pieces.text(words.ago(model.modified_at), tag="td", classes="lehr-quiet")


def state_badge(version: resources_pb2.ModelVersion) -> None:
    """How a version stands, in a word."""
    state, kind = learned.state_words(version)
    percent = version.status.percent_completed
    pieces.badge(f"{state}, {percent} %" if state == "training" else state, kind)


PAGE = Page(
    path="/users/{user_id}/apps/{app_id}/models",
    title="Models",
    build=build,
    tab=Tab(label="Models", icon="school"),
)
