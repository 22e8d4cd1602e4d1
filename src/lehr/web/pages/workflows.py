"""An app's workflows: what there are, those built in, and making another, empty, from a copy or from YAML."""

from __future__ import annotations

from nicegui import ui

from lehr.protocol import resources_pb2
from lehr.web import pieces, words
from lehr.web.client import Refused
from lehr.web.components.text_file import TextFile
from lehr.web.drafts import Draft
from lehr.web.page import Page, Tab, Visit
from lehr.web.pages.apps import id_from
from lehr.web.palette import completed, title_of, with_models
from lehr.web.workflow_yaml import from_yaml
from lehr.web.workflows import BUILT_IN


async def build(visit: Visit) -> None:
    """Own ones, then those that come with Lehr."""
    own = list((await visit.ask("ListWorkflows", page=1, per_page=1000)).workflows)
    base, _ = await visit.base()
    explained = "A workflow runs models one after another: what one finds goes into the next."
    with pieces.title("Workflows", explained):
        if own:
            _buttons(visit)
    if own:
        with pieces.card(), pieces.table("Workflows", "Workflow", "Nodes", "Changed", ""):
            for workflow in own:
                _row(visit, workflow, base)
    else:
        with pieces.empty(
            "account_tree", "No workflows yet", "Draw one, or begin with a copy of one that is built in."
        ):
            _buttons(visit)
    await _built_in(visit, base)


def _buttons(visit: Visit) -> None:
    pieces.button("Import YAML", lambda: _ask_for_yaml(visit), icon="upload_file")
    pieces.button("New workflow", lambda: ask_for_workflow(visit, Draft()), icon="add", kind="main")


def _row(visit: Visit, workflow: resources_pb2.Workflow, base: resources_pb2.Workflow | None) -> None:
    with pieces.element("tr"):
        with pieces.element("td"):
            with pieces.element("div", "lehr-line"):
                pieces.text_link(workflow.id, visit.under_app("workflows", workflow.id), classes="lehr-wrap")
                if base is not None and (base.id, base.app_id) == (workflow.id, workflow.app_id):
                    pieces.badge("base of the app", "accent")
            if workflow.description:
                pieces.text(workflow.description, classes="lehr-quiet lehr-small lehr-wrap")
        kinds = " · ".join(dict.fromkeys(title_of(node.model.model_type_id) for node in workflow.nodes))
        pieces.text(kinds or "none", tag="td", classes="lehr-quiet lehr-wrap")
        pieces.text(words.ago(workflow.modified_at), tag="td", classes="lehr-quiet")
        with pieces.element("td", "lehr-number"):
            if workflow.nodes:
                pieces.link_button("Try", f"{visit.under_app('try')}?with=workflow:{workflow.id}", icon="auto_awesome")


async def _built_in(visit: Visit, base: resources_pb2.Workflow | None) -> None:
    try:
        found = (await visit.ask("ListWorkflows", user_app_id=BUILT_IN, page=1, per_page=100)).workflows
    except Refused:
        return
    with pieces.card("Built in"), pieces.table("Built in", "Workflow", "Nodes", "Changed", ""):
        for workflow in found:
            if workflow.nodes:
                _row(visit, workflow, base)


# -- making one --------------------------------------------------------------------------------------------------------


async def ask_for_workflow(visit: Visit, draft: Draft, suggested: str = "") -> None:
    """The window that makes a workflow of these nodes, and opens it."""
    with pieces.dialog("New workflow") as window, pieces.dialog_card("New workflow"):
        name = pieces.field("Name", suggested, hint="Letters, digits, - _ .").props("autofocus")
        about = pieces.field("What does it do? (optional)")

        async def make() -> None:
            ready = await with_models(visit, draft)
            order = resources_pb2.Workflow(id=id_from(name.value), description=about.value, nodes=ready.to_nodes())
            [made] = (await visit.ask("PostWorkflows", workflows=[order])).workflows
            visit.go(visit.under_app("workflows", made.id))

        name.on("keydown.enter", make)
        with pieces.row("lehr-end"):
            pieces.button("Cancel", window.close)
            pieces.button("Make workflow", make, kind="main")
    window.open()


async def _ask_for_yaml(visit: Visit) -> None:
    with pieces.dialog("Import YAML") as window, pieces.dialog_card("Import YAML"):
        told = "As the Python package clarifai writes it with Workflow.export, and this page with Export YAML."
        pieces.text(told, classes="lehr-quiet")
        area = ui.textarea("YAML").props("outlined input-class=lehr-mono").classes("lehr-field")
        chosen = TextFile(label="Choose a file", accept=".yaml,.yml")
        chosen.on_read(lambda text: _fill(area, text))

        async def read() -> None:
            workflow_id, draft = from_yaml(str(area.value or ""))
            ready = await completed(visit, draft)
            window.close()
            await ask_for_workflow(visit, ready, workflow_id)

        with pieces.row("lehr-end"):
            pieces.button("Cancel", window.close)
            pieces.button("Read it", read, kind="main")
    window.open()


def _fill(area: ui.textarea, text: str) -> None:
    area.set_value(text)


PAGE = Page(
    path="/users/{user_id}/apps/{app_id}/workflows",
    title="Workflows",
    build=build,
    tab=Tab(label="Workflows", icon="account_tree"),
)
