"""One workflow: its graph, changed and checked as it is drawn, saved as versions; its YAML; its end."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from nicegui import ui

from lehr.errors import LehrError
from lehr.protocol import resources_pb2
from lehr.services.base_workflow import EMBEDDERS
from lehr.web import index_state, pieces, words
from lehr.web.components.graph import Drawn, Graph
from lehr.web.drafts import Draft, told_of
from lehr.web.node_panel import Change, Edit, node_panel, shown_of
from lehr.web.page import Page, Visit
from lehr.web.pages.workflows import ask_for_workflow
from lehr.web.palette import Palette, palette_of, title_of, with_models
from lehr.web.workflow_yaml import to_yaml
from lehr.web.workflows import BUILT_IN


@dataclass(kw_only=True)
class Drawing:
    """What is drawn now, and what the server has."""

    visit: Visit
    workflow: resources_pb2.Workflow
    shown: Draft
    """The version that the address names."""
    draft: Draft
    chosen: str = ""
    refused: tuple[str, str] | None = None
    """What the last save was refused for."""

    @property
    def is_changed(self) -> bool:
        """Whether there is something to save."""
        return self.draft != Draft.of(self.workflow.nodes)

    @property
    def is_built_in(self) -> bool:
        """Whether it is everybody's, and nobody's to change."""
        return bool(self.workflow.app_id == BUILT_IN.app_id and self.workflow.user_id == BUILT_IN.user_id)

    @property
    def is_sound(self) -> bool:
        """Whether it can run."""
        return self.draft.problem() is None

    def problem(self) -> tuple[str, str] | None:
        """The node that cannot be, and why."""
        return self.draft.problem() or self.refused

    def drawn(self) -> list[Drawn]:
        """As the graph shows it."""
        problem = self.problem() or ("", "")
        return [
            Drawn(
                id=node.id,
                kind=title_of(node.model.type_id),
                gives=", ".join(self.draft.gives(node.id)),
                inputs=node.inputs,
                problem=problem[1] if problem[0] == node.id else "",
                hidden=node.is_hidden,
            )
            for node in self.draft.nodes
        ]

    def change(self, draft: Draft, chosen: str) -> None:
        """Another draft, which the address keeps."""
        self.draft, self.chosen, self.refused = draft, chosen, None
        self.visit.remember(draft=draft.to_text() if draft != self.shown else "", node=chosen)


async def build(visit: Visit) -> None:
    """The graph with the node that is chosen beside it; versions below."""
    workflow = (await visit.ask("GetWorkflow", workflow_id=visit.part("workflow_id"))).workflow
    shown = Draft.of(await _nodes(visit, workflow))
    draft = Draft.from_text(visit.query("draft")) or shown
    drawing = Drawing(visit=visit, workflow=workflow, shown=shown, draft=draft, chosen=visit.query("node"))
    with pieces.title(workflow.id, workflow.description):
        _actions(drawing)
    await _editor(drawing)
    await _versions(drawing)
    if not drawing.is_built_in:
        with pieces.row("lehr-end"):
            pieces.button("Delete workflow", lambda: _delete(visit, workflow.id), icon="delete", kind="danger")


async def _nodes(visit: Visit, workflow: resources_pb2.Workflow) -> list[resources_pb2.WorkflowNode]:
    """Of the version that the address names, else of the newest."""
    version_id = visit.query("version")
    if not version_id:
        return list(workflow.nodes)
    fields = {"workflow_id": workflow.id, "workflow_version_id": version_id}
    return list((await visit.ask("GetWorkflowVersion", **fields)).workflow_version.nodes)


def _actions(drawing: Drawing) -> None:
    visit, workflow = drawing.visit, drawing.workflow
    if workflow.nodes:
        path = f"{visit.under_app('try')}?{urlencode({'with': f'workflow:{workflow.id}'})}"
        pieces.link_button("Try it", path, icon="auto_awesome")
    pieces.button("Export YAML", lambda: _export(drawing), icon="download")
    if any(node.model.model_type_id in EMBEDDERS for node in workflow.nodes):
        pieces.button("Make it the base", lambda: _make_base(visit, workflow), icon="manage_search")


def _export(drawing: Drawing) -> None:
    text = to_yaml(drawing.workflow.id, drawing.draft)
    ui.download.content(text, f"{drawing.workflow.id}.yaml", "text/yaml")


async def _make_base(visit: Visit, workflow: resources_pb2.Workflow) -> None:
    question = "All inputs of the app are indexed anew by its embedder; searches go on by the old index until then."
    if await pieces.confirmed(f"Make {workflow.id} the base workflow?", question, "Index by it"):
        await index_state.make_base(visit, workflow)
        visit.go(visit.under_app("index"))


# -- the graph ---------------------------------------------------------------------------------------------------------


async def _editor(drawing: Drawing) -> None:
    palette = await palette_of(drawing.visit)
    parts: list[pieces.Redrawn] = []

    def show() -> None:
        graph.show(drawing.drawn(), drawing.chosen)
        for part in parts:
            part.draw()

    def change(edit: Edit, chosen: str) -> None:
        draft = edit(drawing.draft)
        if (draft, chosen) != (drawing.draft, drawing.chosen):
            drawing.change(draft, chosen)
            show()

    async def save() -> None:
        if not await _save(drawing):
            show()

    with pieces.element("div", "lehr-flow"):
        with pieces.card():
            with pieces.element("div", "lehr-toolbar", role="group", **{"aria-label": "Change the graph"}):
                parts.append(
                    pieces.Redrawn(
                        lambda _: _adding(drawing, palette, change),
                        classes="lehr-grow",
                        shows=lambda: tuple(each.id for each in drawing.draft.nodes),
                    )
                )
                parts.append(
                    pieces.Redrawn(
                        lambda _: _saving(drawing, save),
                        classes="lehr-row",
                        shows=lambda: (drawing.is_changed, drawing.is_sound),
                    )
                )
            graph = Graph(drawing.drawn(), chosen=drawing.chosen)
            parts.append(pieces.Redrawn(lambda _: _state(drawing)))
            with pieces.element("p", "lehr-keys"):
                _key_words()
        with pieces.card():
            parts.append(
                pieces.Redrawn(
                    lambda _: node_panel(drawing.draft, drawing.chosen, change),
                    shows=lambda: shown_of(drawing.draft, drawing.chosen),
                )
            )
    _listen(graph, change)


def _listen(graph: Graph, change: Change) -> None:
    graph.on_chosen(lambda node_id: change(lambda now: now, node_id))
    graph.on_removed(lambda node_id: change(lambda now: now.without(node_id), ""))
    graph.on_joined(lambda source, target: change(lambda now: now.joined(source, target), target))
    graph.on_parted(lambda source, target: change(lambda now: now.parted(source, target), target))


def _adding(drawing: Drawing, palette: Palette, change: Change) -> None:
    choice = pieces.choice(dict(palette.names), "Add a node", with_input=True)

    def add(key: object) -> None:
        model = palette.models.get(str(key or ""))
        if model is not None:
            draft, node_id = drawing.draft.added(model, after=drawing.chosen)
            change(lambda _: draft, node_id)

    choice.on_value_change(lambda event: add(event.value))


def _saving(drawing: Drawing, save: pieces.Act) -> None:
    if drawing.is_changed:
        pieces.link_button("Discard", drawing.visit.request.url.path, icon="undo")
    label = "Save as a copy" if drawing.is_built_in else "Save as a new version"
    button = pieces.button(label, save, icon="save", kind="main")
    button.set_enabled(drawing.is_built_in or (drawing.is_changed and drawing.is_sound))


def _state(drawing: Drawing) -> None:
    """What the server would say to a save."""
    problem = drawing.problem()
    if problem is not None:
        where = f"{problem[0]}: " if problem[0] else ""
        with pieces.element("div", "lehr-finding lehr-finding-bad", role="alert"):
            pieces.icon("error")
            pieces.text(f"{where}{problem[1]}", classes="lehr-grow lehr-wrap")
    elif not drawing.draft.nodes:
        pieces.text("Empty: choose a model above to add the first node.", classes="lehr-quiet")
    elif drawing.is_changed:
        pieces.text("It can run like this. It is not saved yet.", classes="lehr-quiet").props("role=status")


def _key_words() -> None:
    for key, what in (
        ("drag", "from a node's circle to the node that takes its output"),
        ("C", "connect"),
        ("←↑→↓", "go"),
        ("Del", "delete a node or a line"),
    ):
        pieces.text(key, tag="kbd")
        pieces.text(f" {what}  ", tag="span")


async def _save(drawing: Drawing) -> bool:
    """Whether the page is left; a refusal stays beside the node that it is about."""
    visit = drawing.visit
    if drawing.is_built_in:
        await ask_for_workflow(visit, drawing.draft, f"my-{drawing.workflow.id}")
        return False
    try:
        ready = await with_models(visit, drawing.draft)
        order = resources_pb2.Workflow(id=drawing.workflow.id, nodes=ready.to_nodes())
        await visit.ask("PatchWorkflows", workflows=[order], action="overwrite")
    except LehrError as error:
        drawing.refused = told_of(error)
        return False
    visit.go(visit.under_app("workflows", drawing.workflow.id))
    return True


# -- versions ----------------------------------------------------------------------------------------------------------


async def _versions(drawing: Drawing) -> None:
    visit, workflow = drawing.visit, drawing.workflow
    asked = await visit.ask("ListWorkflowVersions", workflow_id=workflow.id, page=1, per_page=100)
    shown = visit.query("version") or workflow.version.id
    with pieces.card("Versions"), pieces.table("Versions", "Version", "Nodes", "Saved", "", numbers=("Nodes",)):
        for version in asked.workflow_versions:
            _version(drawing, version, is_shown=version.id == shown, is_only=len(asked.workflow_versions) == 1)


def _version(drawing: Drawing, version: resources_pb2.WorkflowVersion, *, is_shown: bool, is_only: bool) -> None:
    visit, workflow = drawing.visit, drawing.workflow

    async def delete() -> None:
        question = "Whoever runs this very version is refused from then on."
        if await pieces.confirmed(f"Delete version {version.id[:8]}?", question, "Delete"):
            ids = [version.id]
            await visit.ask("DeleteWorkflowVersions", workflow_id=workflow.id, workflow_version_ids=ids)
            visit.go(visit.under_app("workflows", workflow.id))

    with pieces.element("tr"):
        with pieces.element("td"), pieces.element("div", "lehr-line"):
            path = f"{visit.under_app('workflows', workflow.id)}?{urlencode({'version': version.id})}"
            pieces.text_link(version.id[:8], path, classes="lehr-mono").props["title"] = version.id
            if version.id == workflow.version.id:
                pieces.badge("newest", "good")
            if is_shown:
                pieces.badge("shown above", "accent")
        pieces.text(str(len(version.nodes)), tag="td", classes="lehr-number")
        pieces.text(words.ago(version.created_at), tag="td", classes="lehr-quiet")
        with pieces.element("td", "lehr-number"):
            if not is_only and not drawing.is_built_in:
                pieces.icon_button("delete", f"Delete version {version.id[:8]}", delete)


async def _delete(visit: Visit, workflow_id: str) -> None:
    if await pieces.confirmed(f"Delete {workflow_id}?", "Its versions go with it; the models stay.", "Delete"):
        await visit.ask("DeleteWorkflow", workflow_id=workflow_id)
        visit.go(visit.under_app("workflows"))


PAGE = Page(
    path="/users/{user_id}/apps/{app_id}/workflows/{workflow_id}",
    title="Workflow",
    build=build,
    under="Workflows",
    wide=True,
)
