"""An app's datasets: what there are, and making another."""

from __future__ import annotations

from lehr.protocol import resources_pb2
from lehr.web import pieces, words
from lehr.web.page import Page, Tab, Visit
from lehr.web.pages.apps import id_from

_PER_PAGE = 200


async def build(visit: Visit) -> None:
    """A table, last changed first."""
    found = (await visit.ask("ListDatasets", page=1, per_page=_PER_PAGE)).datasets
    with pieces.title("Datasets", "A dataset names inputs; a frozen version of it is what a training learns from."):
        if found:
            pieces.button("New dataset", lambda: ask_for_dataset(visit), icon="add", kind="main")
    if not found:
        with pieces.empty(
            "dataset", "No datasets yet", "Make one and put inputs into it, or train on all inputs of the app."
        ):
            pieces.button("Make the first dataset", lambda: ask_for_dataset(visit), icon="add", kind="main")
        return
    with pieces.card(), pieces.table("Datasets", "Dataset", "Newest version", "Changed"):
        for dataset in found:
            _row(visit, dataset)


def _row(visit: Visit, dataset: resources_pb2.Dataset) -> None:
    with pieces.element("tr"):
        with pieces.element("td"):
            pieces.text_link(dataset.id, visit.under_app("datasets", dataset.id))
            if dataset.description:
                pieces.text(dataset.description, classes="lehr-quiet lehr-small")
        with pieces.element("td"):
            if dataset.HasField("version"):
                pieces.text(dataset.version.description or dataset.version.id[:8], classes="lehr-mono")
            else:
                pieces.badge("not frozen")
        pieces.text(words.ago(dataset.modified_at), tag="td", classes="lehr-quiet")


async def ask_for_dataset(visit: Visit) -> None:
    """The window that makes a dataset, and opens it."""
    with pieces.dialog("New dataset") as window, pieces.dialog_card("New dataset"):
        name = pieces.field("Name", hint="Letters, digits, - _ .").props("autofocus")
        about = pieces.field("What is in it? (optional)")

        async def make() -> None:
            order = resources_pb2.Dataset(id=id_from(name.value), description=about.value)
            [made] = (await visit.ask("PostDatasets", datasets=[order])).datasets
            visit.go(visit.under_app("datasets", made.id))

        name.on("keydown.enter", make)
        with pieces.row("lehr-end"):
            pieces.button("Cancel", window.close)
            pieces.button("Make dataset", make, kind="main")
    window.open()


PAGE = Page(
    path="/users/{user_id}/apps/{app_id}/datasets",
    title="Datasets",
    build=build,
    tab=Tab(label="Datasets", icon="dataset"),
)
