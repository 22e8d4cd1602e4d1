"""Finding inputs: by a picture, by a box drawn on it, by a concept, and by what is known of them."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlencode

from nicegui.elements.mixins.text_element import TextElement

from lehr.protocol import dialect, resources_pb2
from lehr.web import index_state, pieces, words
from lehr.web.app_facts import concept_names, dataset_ids
from lehr.web.components.boxes import Corners
from lehr.web.components.gallery import Gallery
from lehr.web.components.query import Query
from lehr.web.input_choice import choose_input
from lehr.web.page import Page, Tab, Visit
from lehr.web.pages.apps import id_from
from lehr.web.pages.inputs import add_some
from lehr.web.sought import AMONG, KINDS, Sought


async def build(visit: Visit) -> None:
    """What is sought on the left, what was found on the right."""
    sought = Sought.of(visit.state)
    saved = list((await visit.ask("ListSearches", page=1, per_page=100)).searches)
    has_inputs = bool((await visit.ask("ListInputs", page=1, per_page=1)).inputs)
    with pieces.title("Search", "By a picture, by a part of it, by a concept: what looks alike comes first."):
        pieces.link_button("Clusters", visit.under_app("clusters"), icon="bubble_chart")
        pieces.link_button("Index", visit.under_app("index"), icon="manage_search")
    if not has_inputs:
        with pieces.empty("photo_library", "Nothing to search yet", "Add inputs first: each is indexed as it comes."):
            pieces.link_button("Add inputs", visit.under_app("inputs"), icon="add_photo_alternate", kind="main")
        return
    _, generations = await visit.base()
    if not generations and not sought.is_ranked:
        await index_state.no_index(visit)
    with pieces.element("div", "lehr-search"):
        with pieces.element("div", "lehr-stack"):
            if generations:
                query = await _query(visit, sought)
            else:
                query = Query(app=visit.needed_app(), input_id="", picture="", box=None)
                query.set_visibility(False)
            await _filters(visit, sought, can_rank=bool(generations))
            _saved_card(visit, sought, saved, query)
        with pieces.element("div", "lehr-stack"):
            await _found(visit, sought, saved)


def _seek(visit: Visit, sought: Sought) -> None:
    """Another search is another address: the button back leads to the one before."""
    query = urlencode(sought.to_query())
    visit.go(visit.under_app("search") + (f"?{query}" if query else ""))


# -- what is sought ----------------------------------------------------------------------------------------------------


async def _query(visit: Visit, sought: Sought) -> Query:
    with pieces.card("Like a picture"):
        query = Query(app=visit.needed_app(), input_id=sought.input, picture=sought.picture, box=sought.corners)

        def boxed(corners: Corners | None) -> None:
            box = ",".join(f"{side:.4f}" for side in corners) if corners else ""
            _seek(visit, replace(sought, box=box, saved=""))

        query.on_boxed(boxed)
        query.on_dropped(lambda picture: _seek(visit, replace(sought, picture=picture, input="", box="", saved="")))

        def picked(input_id: str) -> None:
            _seek(visit, replace(sought, input=input_id, picture="", box="", saved=""))

        with pieces.row():
            pieces.button("Choose an input", lambda: choose_input(visit, picked), icon="photo_library")
            if sought.box:
                whole = replace(sought, box="")
                pieces.button("Whole picture", lambda: _seek(visit, whole), icon="crop_free")
            if sought.input or sought.picture:
                without = replace(sought, input="", picture="", box="")
                pieces.button("Clear", lambda: _seek(visit, without), icon="close")
    return query


async def _filters(visit: Visit, sought: Sought, *, can_rank: bool) -> None:
    concepts, datasets = await concept_names(visit), await dataset_ids(visit)

    def narrow(label: str, name: str, options: dict[str, str]) -> None:
        value = str(getattr(sought, name))
        options.setdefault(value, value)
        choice = pieces.choice(options, label, value, with_input=len(options) > 10)
        choice.on_value_change(lambda event: _seek(visit, replace(sought, saved="", **{name: str(event.value or "")})))

    with pieces.card("Narrowed to"):
        if concepts and can_rank:
            narrow("Looks like concept", "like", {"": "–", **concepts})
        if concepts:
            narrow("Labelled with", "concept", {"": "Any concept", **concepts})
        if datasets:
            narrow("In dataset", "dataset", {"": "Any dataset", **{each: each for each in datasets}})
        narrow("Kind", "kind", dict(KINDS))
        narrow("Find", "among", dict(AMONG))
        if sought.cluster:
            noun = "near-duplicates" if ":copy-" in sought.cluster else "cluster"
            with pieces.element("div", "lehr-line lehr-spread"):
                pieces.text(f"In {noun} {sought.cluster.rpartition(':')[2]}")
                pieces.icon_button("close", "Any cluster", lambda: _seek(visit, replace(sought, cluster="")))
        if not sought.is_nothing:
            pieces.link_button("Start again", visit.under_app("search"), icon="restart_alt")


# -- what was found ----------------------------------------------------------------------------------------------------


async def _found(visit: Visit, sought: Sought, saved: list[resources_pb2.Search]) -> None:
    if sought.is_nothing:
        pieces.empty(
            "image_search", "What are you looking for?", "Drop a picture, choose an input, or narrow by a concept."
        )
        return
    if sought.saved and sought.saved not in {each.id for each in saved}:
        pieces.empty("search_off", "Not here", f"There is no saved search {sought.saved!r} any more.")
        return
    heading = f"Saved search {sought.saved}" if sought.saved else "Found"
    with pieces.element("div", "lehr-line lehr-spread"):
        pieces.text(heading, tag="h2", classes="lehr-wrap")
        told = pieces.text("", classes="lehr-quiet lehr-small").props("role=status")
    gallery = Gallery(app=visit.needed_app(), source=sought.source(), total=None)
    gallery.on_total(lambda number: _tell(told, number))
    await _selected(visit, gallery)


def _tell(told: TextElement, number: int) -> None:
    told.set_text(words.counted(number, "hit") if number else "Nothing was found.")


async def _selected(visit: Visit, gallery: Gallery) -> None:
    """What is done with hits that are marked."""
    bar = pieces.element("div", "lehr-selected", role="region", **{"aria-label": "Selected inputs"})
    with bar:
        number = pieces.text("", classes="lehr-grow").props("role=status")
        pieces.button("Add to dataset", lambda: add_some(visit, gallery.marked), icon="playlist_add")
        pieces.icon_button("close", "Select none", gallery.unmark)
    bar.set_visibility(False)

    def marked(ids: list[str]) -> None:
        number.set_text(f"{words.count(len(ids))} selected")
        bar.set_visibility(bool(ids))

    gallery.on_marked(marked)


# -- saved searches ----------------------------------------------------------------------------------------------------


def _saved_card(visit: Visit, sought: Sought, saved: list[resources_pb2.Search], query: Query) -> None:
    can_save = not sought.is_nothing and not sought.saved
    if not saved and not can_save:
        return
    with pieces.card("Saved searches"):
        for search in saved:
            _saved_line(visit, search, is_lit=search.id == sought.saved)
        if can_save:
            pieces.button("Save this search", lambda: _ask_to_save(visit, sought, query), icon="bookmark_add")


def _saved_line(visit: Visit, search: resources_pb2.Search, *, is_lit: bool) -> None:
    async def delete() -> None:
        if await pieces.confirmed(f"Delete the search {search.id}?", "The inputs that it finds stay.", "Delete"):
            await visit.ask("DeleteSearch", id=search.id)
            _seek(visit, Sought())

    with pieces.element("div", "lehr-line lehr-spread"):
        path = f"{visit.under_app('search')}?{urlencode({'saved': search.id})}"
        found = pieces.text_link(search.name or search.id, path, classes="lehr-wrap")
        if is_lit:
            found.props["aria-current"] = "page"
        pieces.icon_button("delete", f"Delete the search {search.id}", delete)


async def _ask_to_save(visit: Visit, sought: Sought, query: Query) -> None:
    with pieces.dialog("Save this search") as window, pieces.dialog_card("Save this search"):
        pieces.text("It is run anew whenever it is opened; from code, by its id.", classes="lehr-quiet")
        name = pieces.field("Name", hint="Letters, digits, - _ .").props("autofocus")

        async def save() -> None:
            search = sought.search()
            search.id, search.name = id_from(name.value), name.value
            query.save(dialect.to_json(search), sought.among or "inputs")

        name.on("keydown.enter", save)
        with pieces.row("lehr-end"):
            pieces.button("Cancel", window.close)
            pieces.button("Save", save, kind="main")
    query.on_saved(lambda _: visit.reload())
    window.open()


PAGE = Page(
    path="/users/{user_id}/apps/{app_id}/search",
    title="Search",
    build=build,
    tab=Tab(label="Search", icon="image_search"),
    wide=True,
)
