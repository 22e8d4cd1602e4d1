"""An app's inputs put together by likeness: its clusters with their pictures, and near-duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.structs import from_struct, to_struct
from lehr.services.clusterer_form import CLUSTERER, ClustererForm
from lehr.web import pieces, words
from lehr.web.page import Page, Visit
from lehr.web.sought import of_cluster
from lehr.web.thumbnails import Thumbnails, address_of, strip

MODEL = "clusters"
"""Id of the model that this page makes."""
_LOOK_SECONDS = 1.5
_SHOWN = 9
_MOST = 60
"""Clusters on the page, the largest first."""
_AT_WORK = (status_code_pb2.MODEL_QUEUED_FOR_TRAINING, status_code_pb2.MODEL_TRAINING)
Size = dict[str, Any]


async def build(visit: Visit) -> None:
    """The newest version of the app's clusterer, and the button that makes another."""
    found = (await visit.ask("ListModels", model_type_id=CLUSTERER, page=1, per_page=100)).models
    own = [each for each in found if each.app_id == visit.needed_app().app_id]
    model = next((each for each in own if each.id == MODEL), own[0] if own else None)
    version = model.model_version if model is not None else None
    is_made = version is not None and version.status.code == status_code_pb2.MODEL_TRAINED
    with pieces.title("Clusters", "Inputs that look alike, put together without any label."):
        pieces.link_button("Search", visit.under_app("search"), icon="image_search")
        if version is not None:
            pieces.button("Find them again", lambda: _ask(visit, model), icon="refresh", kind="main")
    if model is None or version is None or not version.id:
        advice = "What looks alike is put together, and copies are found, from the embeddings that searches use."
        with pieces.empty("bubble_chart", "No clusters yet", advice):
            pieces.button("Find clusters", lambda: _ask(visit, None), icon="bubble_chart", kind="main")
        return
    fields = {"model_id": model.id, "version_id": version.id}
    version = (await visit.ask("GetModelVersion", **fields)).model_version
    if not is_made:
        await _wait(visit, model.id, version)
        return
    told: Any = from_struct(version.metadata).get("lehr") or {}
    await _groups(visit, version.id, "Near-duplicates", told.get("near_duplicates") or [])
    await _groups(visit, version.id, "Clusters", told.get("clusters") or [])


async def _wait(visit: Visit, model_id: str, version: resources_pb2.ModelVersion) -> None:
    """What is being done, live; or why it could not be."""
    if version.status.code not in _AT_WORK:
        pieces.empty("error_outline", "Not found", version.status.details or version.status.description)
        return
    with pieces.card():
        pieces.badge("being found", "busy").props("role=status")

    async def look() -> None:
        fields = {"model_id": model_id, "version_id": version.id}
        if (await visit.ask("GetModelVersion", **fields)).model_version.status.code not in _AT_WORK:
            visit.reload()

    visit.every(_LOOK_SECONDS, look)


async def _groups(visit: Visit, version_id: str, heading: str, sizes: Sequence[Size]) -> None:
    largest = sorted((each for each in sizes if each["count"]), key=lambda each: -each["count"])
    with pieces.card(f"{heading}: {len(largest)}"):
        if not largest:
            pieces.text("None.", classes="lehr-quiet")
        for each in largest[:_MOST]:
            await _group(visit, f"{version_id}:{each['id']}", int(each["count"]))
        if len(largest) > _MOST:
            pieces.text(f"The largest {_MOST} of {len(largest)}.", classes="lehr-quiet lehr-small")


async def _group(visit: Visit, name: str, count: int) -> None:
    search = resources_pb2.Search(query=resources_pb2.Query(filters=[of_cluster(name)]))
    paging = {"page": 1, "per_page": _SHOWN}
    hits = (await visit.ask("PostInputsSearches", searches=[search], pagination=paging)).hits
    thumbnails = Thumbnails(visit)
    thumbnails.know({hit.input.id: address_of(hit.input) for hit in hits})
    path = f"{visit.under_app('search')}?{urlencode({'cluster': name})}"
    with pieces.element("div", "lehr-group"):
        with pieces.link(path, classes="lehr-text-link", label=f"Open {name.rpartition(':')[2]}"):
            pieces.text(words.counted(count, "input"), tag="span")
        strip(visit, [hit.input.id for hit in hits], thumbnails)


async def _ask(visit: Visit, model: resources_pb2.Model | None) -> None:
    fields = ClustererForm.model_fields
    with pieces.dialog("Find clusters") as window, pieces.dialog_card("Find clusters"):
        number = ui.number("Clusters", value=fields["coarse_clusters"].default, min=2, max=1024, precision=0)
        number.props["hint"] = fields["coarse_clusters"].description or ""
        score = ui.number("Near-duplicates from a score of", value=fields["duplicate_score"].default, min=0.5, max=1)
        score.props["hint"] = fields["duplicate_score"].description or ""
        for made in (number, score):
            made.props("outlined dense").classes("lehr-field")

        async def find() -> None:
            model_id = model.id if model is not None else MODEL
            if model is None:
                order = resources_pb2.Model(id=MODEL, model_type_id=CLUSTERER)
                await visit.ask("PostModels", models=[order])
            params = {"coarse_clusters": number.value, "duplicate_score": score.value}
            version = resources_pb2.ModelVersion(train_info=resources_pb2.TrainInfo(params=to_struct(params)))
            await visit.ask("PostModelVersions", model_id=model_id, model_versions=[version])
            visit.reload()

        with pieces.row("lehr-end"):
            pieces.button("Cancel", window.close)
            pieces.button("Find", find, kind="main")
    window.open()


PAGE = Page(path="/users/{user_id}/apps/{app_id}/clusters", title="Clusters", build=build, under="Search")
