"""An app's index: its base workflow, how far the index is, its generations, and what a change did to neighbours."""

from __future__ import annotations

from typing import Any

from lehr.protocol import resources_pb2, status_code_pb2
from lehr.services.base_workflow import EMBEDDERS
from lehr.web import index_state, pieces, words
from lehr.web.client import Refused
from lehr.web.page import Page, Visit
from lehr.web.thumbnails import Thumbnails
from lehr.web.workflows import BUILT_IN

Told = dict[str, Any]
_STATES = {
    "SERVING": ("answers searches", "good"),
    "BUILDING": ("being built", "busy"),
    "KEPT": ("kept, can be taken back", "plain"),
}


async def build(visit: Visit) -> None:
    """What it stands on, how far it is, what came before."""
    workflow, generations = await visit.base()
    living = [each for each in generations if each["state"] in _STATES]
    explained = "Every input is embedded by the base workflow; searches compare those embeddings."
    with pieces.title("Index", explained):
        pieces.link_button("Search", visit.under_app("search"), icon="image_search")
    with pieces.element("div", "lehr-halves"):
        await _base(visit, workflow)
        with pieces.card("How far it is"):
            if living:
                await index_state.progress(visit, living)
                await _failed(visit)
            else:
                pieces.text("Nothing is indexed: choose a base workflow that embeds.", classes="lehr-quiet")
    if living:
        _generations(visit, living)
        await _change(visit, living)


# -- the base workflow -------------------------------------------------------------------------------------------------


async def _base(visit: Visit, current: resources_pb2.Workflow | None) -> None:
    options = {_key(each): each for each in await _embedding_workflows(visit)}
    with pieces.card("Base workflow"):
        pieces.text(
            "After a change all inputs are indexed anew; searches are answered by the old index until then.",
            classes="lehr-quiet",
        )
        names = {key: _name(each) for key, each in options.items()}
        chosen = _key(current) if current is not None and _key(current) in names else None
        if current is not None and chosen is None:
            pieces.text(f"Now: {current.id}, which embeds nothing.", classes="lehr-quiet")
        choice = pieces.choice(names, "Workflow", chosen)

        async def change() -> None:
            if not choice.value:
                pieces.warn("Choose a workflow with an embedder first.")
                return
            await index_state.make_base(visit, options[str(choice.value)])
            visit.reload()

        with pieces.row():
            pieces.button("Index by it", change, icon="play_arrow", kind="main")
            if current is not None and (current.app_id or visit.needed_app().app_id) != BUILT_IN.app_id:
                pieces.link_button("Open it", visit.under_app("workflows", current.id), icon="account_tree")


def _key(workflow: resources_pb2.Workflow) -> str:
    return f"{workflow.user_id}/{workflow.app_id}/{workflow.id}"


def _name(workflow: resources_pb2.Workflow) -> str:
    return f"{workflow.id} · built in" if workflow.app_id == BUILT_IN.app_id else workflow.id


async def _embedding_workflows(visit: Visit) -> list[resources_pb2.Workflow]:
    found: list[resources_pb2.Workflow] = list((await visit.ask("ListWorkflows", page=1, per_page=1000)).workflows)
    try:
        found += (await visit.ask("ListWorkflows", user_app_id=BUILT_IN, page=1, per_page=100)).workflows
    except Refused:
        pass
    return [each for each in found if any(node.model.model_type_id in EMBEDDERS for node in each.nodes)]


async def _failed(visit: Visit) -> None:
    """The inputs that could not be indexed, each with its reason."""
    status = resources_pb2.Input().status
    status.code = status_code_pb2.INPUT_REINDEX_FAILED
    found = (await visit.ask("ListInputs", status=status, page=1, per_page=20)).inputs
    for each in found:
        with pieces.element("div", "lehr-line"):
            pieces.text_link(each.id, visit.under_app("inputs", each.id))
            pieces.text(each.status.details or each.status.description, classes="lehr-quiet lehr-small lehr-wrap")


# -- generations -------------------------------------------------------------------------------------------------------


def _generations(visit: Visit, living: list[Told]) -> None:
    with pieces.card("Generations"):
        headings = ("Generation", "State", "Embedder", "Numbers", "Waiting", "Recall", "")
        with pieces.table("Generations", *headings, numbers=("Numbers", "Waiting", "Recall")):
            for each in living:
                _generation(visit, each)


def _generation(visit: Visit, told: Told) -> None:
    number, (state, kind) = told["number"], _STATES[told["state"]]
    with pieces.element("tr"):
        pieces.text(str(number), tag="td")
        with pieces.element("td"):
            pieces.badge(state, kind)
        pieces.text(told["embedder"], tag="td", classes="lehr-mono lehr-wrap")
        pieces.text(words.count(told["dimensions"] or 0), tag="td", classes="lehr-number")
        pieces.text(words.count(told["to_reindex"]), tag="td", classes="lehr-number")
        recall = told["recall"]
        pieces.text("exact" if recall is None else f"{recall:.3f}", tag="td", classes="lehr-number")
        with pieces.element("td", "lehr-number"), pieces.row("lehr-end"):
            if told["state"] == "KEPT":
                pieces.button("Take back", lambda: _take_back(visit, told), icon="undo")
            if told["state"] != "SERVING":
                pieces.icon_button("delete", f"Drop generation {number}", lambda: _drop(visit, number))


async def _take_back(visit: Visit, told: Told) -> None:
    workflow = resources_pb2.Workflow(**told["workflow"])
    question = f"Workflow {workflow.id} becomes the base again. What came in since is indexed first."
    if await pieces.confirmed(f"Take generation {told['number']} back?", question, "Take back"):
        await index_state.make_base(visit, workflow)
        visit.reload()


async def _drop(visit: Visit, number: int) -> None:
    question = "Its embeddings are deleted; to have it again, everything must be indexed anew."
    if await pieces.confirmed(f"Drop generation {number}?", question, "Drop"):
        await visit.drop_generation(number)
        visit.reload()


# -- what a change did -------------------------------------------------------------------------------------------------


async def _change(visit: Visit, living: list[Told]) -> None:
    report = next((each["report"] for each in living if each["state"] == "SERVING"), None)
    if not report or not report["sample"]:
        return
    thumbnails = Thumbnails(visit)
    changed = report["changed_most"]
    await thumbnails.fetch(each["input_id"] for each in changed)
    with pieces.card("What the last change did to neighbours"):
        share = f"{100 * report['common_neighbours']:.0f} %"
        told = f"of the ten nearest neighbours stayed, over {words.counted(report['sample'], 'input')}"
        with pieces.element("div", "lehr-line"):
            pieces.text(share, classes="lehr-figure-number")
            pieces.text(told, classes="lehr-quiet lehr-wrap")
        pieces.text(f"From {report['from']} to {report['to']}.", classes="lehr-mono lehr-quiet lehr-wrap")
        pieces.text("Changed most: open one to see what it is like now.", classes="lehr-quiet lehr-small")
        with pieces.element("div", "lehr-strip"):
            for each in changed:
                _changed(visit, each, thumbnails)


def _changed(visit: Visit, told: Told, thumbnails: Thumbnails) -> None:
    input_id, stayed = told["input_id"], told["common_neighbours"]
    label = f"{input_id}: {stayed} of 10 neighbours stayed"
    path = f"{visit.under_app('search')}?input={input_id}"
    with pieces.element("div", "lehr-captioned"):
        with pieces.link(path, classes="lehr-thumb", label=label):
            if thumbnails.of(input_id):
                pieces.element("img", src=thumbnails.of(input_id), alt="", loading="lazy")
            else:
                pieces.icon("image_not_supported")
        pieces.text(f"{stayed} stayed", classes="lehr-quiet lehr-small")


PAGE = Page(path="/users/{user_id}/apps/{app_id}/index", title="Index", build=build, under="Search")
