"""The first half of a training: what the model shall do, and what it is called."""

from __future__ import annotations

from urllib.parse import urlencode

from lehr.protocol import resources_pb2
from lehr.web import pieces
from lehr.web.choices import Choices, Option
from lehr.web.page import Page, Visit
from lehr.web.pages.apps import id_from

_ICONS = {
    "visual-classifier": "label",
    "visual-detector": "center_focus_strong",
    "visual-embedder": "scatter_plot",
    "embedding-classifier": "bolt",
    "clusterer": "bubble_chart",
}
_FIRST = "visual-classifier"


async def build(visit: Visit) -> None:
    """A card for each type that can be trained; the chosen one and the name make the model."""
    found = (await visit.ask("ListModelTypes", page=1, per_page=100)).model_types
    options = [
        Option(id=each.id, title=each.title, lines=[each.description], icon=_ICONS.get(each.id, "school"))
        for each in found
        if each.trainable
    ]
    known = {option.id for option in options}
    state = {"type": visit.query("type") if visit.query("type") in known else _FIRST}
    pieces.title("Train a model", "First: what shall it do?")

    def choose(type_id: str) -> None:
        state["type"] = type_id
        visit.remember(type=type_id)

    Choices("What shall it do?", options, state["type"], choose)
    with pieces.card("What is it called?"):
        name = pieces.field("Name", hint="Letters, digits, - _ .")
        about = pieces.field("What is it for? (optional)")

        async def make() -> None:
            order = resources_pb2.Model(id=id_from(name.value), model_type_id=state["type"], description=about.value)
            made = (await visit.ask("PostModels", models=[order])).model
            visit.go(visit.under_app("models", made.id, "train") + _kept(visit))

        name.on("keydown.enter", make)
        with pieces.row("lehr-end"):
            pieces.button("Continue", make, icon="arrow_forward", kind="main")


def _kept(visit: Visit) -> str:
    """What an address that led here knew of the training to come."""
    known = {"dataset": visit.query("dataset"), "p.base_embed_model": visit.query("base")}
    given = {name: value for name, value in known.items() if value}
    return f"?{urlencode(given)}" if given else ""


PAGE = Page(path="/users/{user_id}/apps/{app_id}/train", title="Train", build=build, under="Models")
