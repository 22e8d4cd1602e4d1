"""A model: its versions with what each reached, any of them side by side, and the way to the next one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlencode

from nicegui import ui

from lehr.protocol import resources_pb2, status_code_pb2
from lehr.web import learned, pieces, words
from lehr.web.page import Page, Visit
from lehr.web.pages.models import state_badge, type_titles

_PER_PAGE = 200
_LOOK_SECONDS = 2.0


async def build(visit: Visit) -> None:
    """Versions, newest first; marks for a comparison are in the address."""
    model_id = visit.part("model_id")
    model = (await visit.ask("GetModel", model_id=model_id)).model
    titles = await type_titles(visit)
    model_type = (await visit.ask("GetModelType", model_type_id=model.model_type_id)).model_type
    versions = await _versions(visit, model_id)
    about = " · ".join(
        each for each in (titles.get(model.model_type_id, model.model_type_id), model.description) if each
    )
    with pieces.title(model_id, about):
        if model_type.trainable:
            path = visit.under_app("models", model_id, "train")
            pieces.link_button("Train a new version", path, icon="play_arrow", kind="main")
    listed = [each for each in versions if learned.is_active(each) or each.status.code != _UNTRAINED]
    if listed or not model_type.trainable:
        _card(visit, model, versions if not model_type.trainable else listed)
    else:
        with pieces.empty("school", "Nothing trained yet", "Choose a template and what it shall learn from."):
            pieces.link_button("Train it", visit.under_app("models", model_id, "train"), icon="play_arrow", kind="main")
    with pieces.row("lehr-end"):
        pieces.button("Delete model", lambda: _delete(visit, model_id), icon="delete", kind="danger")


_UNTRAINED = status_code_pb2.MODEL_UNTRAINED
"""The version that a model is made with; there is nothing to show of it."""


async def _versions(visit: Visit, model_id: str) -> list[resources_pb2.ModelVersion]:
    return list((await visit.ask("ListModelVersions", model_id=model_id, page=1, per_page=_PER_PAGE)).model_versions)


def _card(visit: Visit, model: resources_pb2.Model, versions: list[resources_pb2.ModelVersion]) -> None:
    marked = [each for each in visit.query("marked").split(",") if each]

    def mark(version_id: str, is_marked: bool) -> None:
        marked[:] = [each for each in marked if each != version_id] + ([version_id] if is_marked else [])
        visit.remember(marked=",".join(marked))
        compare.set_enabled(len(marked) > 1)

    def open_comparison() -> None:
        query = urlencode({"v": ",".join(f"{model.id}/{each}" for each in marked)})
        visit.go(f"{visit.under_app('compare')}?{query}")

    with pieces.card():
        with pieces.element("div", "lehr-line lehr-spread"):
            pieces.text("Versions", tag="h2")
            compare = pieces.button("Compare marked", open_comparison, icon="compare_arrows")
            compare.set_enabled(len(marked) > 1)
        shown = pieces.Redrawn(lambda _: _table(visit, model, versions, marked, mark))

    async def look() -> None:
        if any(learned.is_active(each) for each in versions):
            now = {each.id: each for each in await _versions(visit, model.id)}
            versions[:] = [now[each.id] for each in versions if each.id in now]
            shown.draw()

    visit.every(_LOOK_SECONDS, look)


Mark = Callable[[str, bool], None]


def _table(
    visit: Visit,
    model: resources_pb2.Model,
    versions: Sequence[resources_pb2.ModelVersion],
    marked: Sequence[str],
    mark: Mark,
) -> None:
    names = learned.figure_names(model.model_type_id)
    headings = ("", "Version", "State", *names, "Template", "Made")
    with pieces.table("Versions", *headings, numbers=tuple(names)):
        for version in versions:
            _row(visit, model, version, is_marked=version.id in marked, mark=mark)


def _row(
    visit: Visit, model: resources_pb2.Model, version: resources_pb2.ModelVersion, *, is_marked: bool, mark: Mark
) -> None:
    found = dict(learned.figures(model.model_type_id, version.metrics.summary))
    with pieces.element("tr"):
        with pieces.element("td", "lehr-mark"):
            box = ui.checkbox(value=is_marked, on_change=lambda event: mark(version.id, bool(event.value)))
            box.props["aria-label"] = f"Mark {learned.version_name(version)} to compare"
        with pieces.element("td", "lehr-wrap"):
            path = visit.under_app("models", model.id, "versions", version.id)
            pieces.text_link(learned.version_name(version), path, classes="" if version.description else "lehr-mono")
        with pieces.element("td"):
            state_badge(version)
        for name in learned.figure_names(model.model_type_id):
            value = found.get(name)
            pieces.text("" if value is None else f"{value:.3f}", tag="td", classes="lehr-number")
        pieces.text(learned.template_of(version), tag="td", classes="lehr-quiet")
        pieces.text(words.ago(version.created_at), tag="td", classes="lehr-quiet")


async def _delete(visit: Visit, model_id: str) -> None:
    question = "All its versions, their evaluations and exports go with it; a training that runs is cancelled."
    if await pieces.confirmed(f"Delete model {model_id}?", question, "Delete"):
        await visit.ask("DeleteModel", model_id=model_id)
        visit.go(visit.under_app("models"))


PAGE = Page(path="/users/{user_id}/apps/{app_id}/models/{model_id}", title="Model", build=build, under="Models")
