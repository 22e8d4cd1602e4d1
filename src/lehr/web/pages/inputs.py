"""An app's inputs: dropping files, the wall of what is there, narrowing it, and what is done with many at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nicegui.elements.mixins.text_element import TextElement

from lehr.protocol import resources_pb2
from lehr.web import pieces, words
from lehr.web.app_facts import concept_names, dataset_ids
from lehr.web.chosen import STATES, Chosen, query_string
from lehr.web.components.gallery import Gallery
from lehr.web.components.uploader import Uploader
from lehr.web.page import Page, Tab, Visit

_AT_ONCE = 128
"""Inputs in one call that changes or deletes them."""


async def build(visit: Visit) -> None:
    """Drop zone, filters, wall."""
    chosen = Chosen.of(visit.state)
    counts = (await visit.ask("GetInputCount")).counts
    total = counts.processed + counts.to_process + counts.processing + counts.errors
    pieces.title("Inputs", "Images and videos to learn from and to search. Open one to label it or to draw boxes.")
    _drop_zone(visit, chosen)
    if not total:
        pieces.empty("photo_library", "No inputs yet", "Drop images above. A folder's name can become their label.")
        return
    await _filters(visit, chosen)
    known = total if chosen.is_everything else None
    told = pieces.text(_told(known), classes="lehr-quiet lehr-small").props("role=status")
    gallery = Gallery(app=visit.needed_app(), source=chosen.source(), total=known, query=query_string(chosen))
    gallery.on_total(lambda number: _say(told, number))
    await _selected(visit, gallery, chosen)
    if counts.to_process or counts.processing:
        _follow(visit, gallery, counts.to_process + counts.processing)


def _say(told: TextElement, total: int) -> None:
    told.set_text(_told(total))


def _told(total: int | None) -> str:
    return "Counting as you scroll" if total is None else words.counted(total, "input")


def _drop_zone(visit: Visit, chosen: Chosen) -> None:
    uploader = Uploader(app=visit.needed_app(), dataset=chosen.dataset)

    async def uploaded(result: dict[str, int]) -> None:
        if result["archives"]:
            pieces.say("The archive is here; the server unpacks it now, and its pictures appear one by one.")
        elif result["added"]:
            pieces.say(f"{words.counted(result['added'], 'file')} added.")
        if not result["refused"]:
            visit.reload()

    uploader.on_uploaded(uploaded)


async def _filters(visit: Visit, chosen: Chosen) -> None:
    datasets, concepts = await dataset_ids(visit), await concept_names(visit)

    def narrow(name: str, value: str | None) -> None:
        visit.state[name] = value or ""
        visit.remember()
        visit.reload()

    with pieces.element("div", "lehr-toolbar", role="search", **{"aria-label": "Narrow the inputs"}):
        if concepts:
            options = {"": "Any concept", **concepts}
            pieces.choice(
                options, "Concept", _among(chosen.concept, options), with_input=len(options) > 10
            ).on_value_change(lambda event: narrow("concept", event.value))
        if datasets:
            options = {"": "Any dataset", **{each: each for each in datasets}}
            pieces.choice(options, "Dataset", _among(chosen.dataset, options)).on_value_change(
                lambda event: narrow("dataset", event.value)
            )
        pieces.choice(STATES, "State", chosen.state).on_value_change(lambda event: narrow("state", event.value))
        if not chosen.is_everything:
            pieces.link_button("Show all", visit.under_app("inputs"), icon="close")
        pieces.button("Add these to a dataset", lambda: add_all(visit, chosen), icon="playlist_add")


def _among(value: str, options: dict[str, str]) -> str:
    """The value; one that went meanwhile is shown all the same."""
    options.setdefault(value, value)
    return value


def _follow(visit: Visit, gallery: Gallery, waiting: int) -> None:
    """Says how many are still being processed, and shows them when they are done."""
    note = pieces.text(f"{words.counted(waiting, 'input')} being processed", classes="lehr-badge lehr-badge-busy")
    note.props("role=status")

    async def look() -> None:
        counts = (await visit.ask("GetInputCount")).counts
        left = counts.to_process + counts.processing
        note.set_text(f"{words.counted(left, 'input')} being processed")
        gallery.refresh()
        if not left:
            timer.cancel()
            note.set_visibility(False)

    timer = visit.every(1.5, look)


# -- many at once ------------------------------------------------------------------------------------------------------


async def _selected(visit: Visit, gallery: Gallery, chosen: Chosen) -> None:
    bar = pieces.element("div", "lehr-selected", role="region", **{"aria-label": "Selected inputs"})
    with bar:
        number = pieces.text("", classes="lehr-grow").props("role=status")
        pieces.button("Label", lambda: _label(visit, gallery), icon="label")
        pieces.button("Add to dataset", lambda: add_some(visit, gallery.marked), icon="playlist_add")
        if chosen.dataset:
            pieces.button("Take out", lambda: _take_out(visit, gallery, chosen.dataset), icon="playlist_remove")
        pieces.button("Delete", lambda: _delete(visit, gallery), icon="delete", kind="danger")
        pieces.icon_button("close", "Select none", gallery.unmark)
    bar.set_visibility(False)

    def marked(ids: list[str]) -> None:
        number.set_text(f"{words.count(len(ids))} selected")
        bar.set_visibility(bool(ids))

    gallery.on_marked(marked)


async def _label(visit: Visit, gallery: Gallery) -> None:
    ids = list(gallery.marked)
    concepts = await concept_names(visit)
    with pieces.dialog("Label inputs") as window, pieces.dialog_card(f"Label {words.counted(len(ids), 'input')}"):
        choice = pieces.choice(concepts, "Concept", with_input=True, new_value_mode="add-unique")
        choice.props["hint"] = "Choose one, or type a new one and press Enter"

        async def label() -> None:
            if not choice.value:
                pieces.warn("Choose a concept, or type a new one and press Enter.")
                return
            concept = resources_pb2.Concept(
                id=str(choice.value), name=concepts.get(choice.value, choice.value), value=1
            )
            for some in _portions(ids):
                inputs = [resources_pb2.Input(id=each, data={"concepts": [concept]}) for each in some]
                await visit.ask("PatchInputs", inputs=inputs, action="merge")
            window.close()
            gallery.unmark()
            gallery.refresh()

        with pieces.row("lehr-end"):
            pieces.button("Cancel", window.close)
            pieces.button("Label", label, kind="main")
    window.open()


async def add_some(visit: Visit, ids: list[str]) -> None:
    """Asks for a dataset and puts these inputs in."""

    async def add(dataset: str) -> None:
        for some in _portions(list(ids)):
            items = [resources_pb2.DatasetInput(input={"id": each}) for each in some]
            await visit.ask("PostDatasetInputs", dataset_id=dataset, dataset_inputs=items)
        pieces.say(f"{words.counted(len(ids), 'input')} put into {dataset}.")

    await _ask_for_dataset(visit, f"Add {words.counted(len(ids), 'input')} to a dataset", add)


async def add_all(visit: Visit, chosen: Chosen) -> None:
    """Asks for a dataset and puts in everything that the filters leave; without any, all that is ready."""
    if chosen.ids:
        await add_some(visit, chosen.ids.split(","))
        return
    wanted = Chosen(state="good") if chosen.is_everything else chosen

    async def add(dataset: str) -> None:
        await visit.ask("PostDatasetInputs", dataset_id=dataset, search=wanted.search())
        pieces.say(f"All of them are in {dataset} now.")

    await _ask_for_dataset(visit, "Add all of these to a dataset", add)


async def _ask_for_dataset(visit: Visit, heading: str, add: Callable[[str], Awaitable[None]]) -> None:
    existing = await dataset_ids(visit)
    with pieces.dialog(heading) as window, pieces.dialog_card(heading):
        choice = pieces.choice(existing, "Dataset", with_input=True, new_value_mode="add-unique")
        choice.props["hint"] = "Choose one, or type a new id and press Enter"

        async def go() -> None:
            name = str(choice.value or "")
            if not name:
                pieces.warn("Choose a dataset, or type a new id and press Enter.")
                return
            if name not in existing:
                await visit.ask("PostDatasets", datasets=[resources_pb2.Dataset(id=name)])
            await add(name)
            window.close()

        with pieces.row("lehr-end"):
            pieces.button("Cancel", window.close)
            pieces.button("Add", go, kind="main")
    window.open()


async def _take_out(visit: Visit, gallery: Gallery, dataset: str) -> None:
    for some in _portions(gallery.marked):
        await visit.ask("DeleteDatasetInputs", dataset_id=dataset, input_ids=some)
    visit.reload()


async def _delete(visit: Visit, gallery: Gallery) -> None:
    ids = list(gallery.marked)
    question = f"{words.counted(len(ids), 'input')} and their labels will be gone. Frozen dataset versions keep theirs."
    if not await pieces.confirmed("Delete inputs?", question, "Delete"):
        return
    for some in _portions(ids):
        await visit.ask("DeleteInputs", ids=some)
    visit.reload()


def _portions(ids: list[str]) -> list[list[str]]:
    return [ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE)]


PAGE = Page(
    path="/users/{user_id}/apps/{app_id}/inputs",
    title="Inputs",
    build=build,
    tab=Tab(label="Inputs", icon="photo_library"),
    wide=True,
)
