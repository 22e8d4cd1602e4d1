"""One dataset: its health before a training, its frozen versions, and the way to its inputs."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlencode

from lehr.protocol import resources_pb2
from lehr.services.dataset_health import Health
from lehr.services.health_findings import ConceptCount, Finding, Report
from lehr.web import pieces, words
from lehr.web.page import Page, Visit
from lehr.web.thumbnails import Thumbnails, strip

_LOOK_SECONDS = 1.0
_SHOWN = 12
"""Pictures beside a finding."""


async def build(visit: Visit) -> None:
    """Health above, versions below."""
    dataset_id = visit.part("dataset_id")
    dataset = (await visit.ask("GetDataset", dataset_id=dataset_id)).dataset
    inputs = f"{visit.under_app('inputs')}?{urlencode({'dataset': dataset_id})}"
    with pieces.title(dataset_id, dataset.description):
        pieces.link_button("Inputs", inputs, icon="photo_library")
        train = f"{visit.under_app('train')}?{urlencode({'dataset': dataset_id})}"
        pieces.link_button("Train on it", train, icon="school")
        pieces.button("Freeze a version", lambda: _ask_to_freeze(visit, dataset_id), icon="ac_unit", kind="main")
    await _health(visit, dataset_id, inputs)
    await _versions(visit, dataset_id)
    with pieces.row("lehr-end"):
        pieces.button("Delete dataset", lambda: _delete(visit, dataset_id), icon="delete", kind="danger")


# -- health ------------------------------------------------------------------------------------------------------------


async def _health(visit: Visit, dataset_id: str, inputs: str) -> None:
    state = {"health": await visit.health(dataset_id)}
    thumbnails = Thumbnails(visit)
    if state["health"].report is None and not state["health"].is_running and not state["health"].problem:
        state["health"] = await visit.health(dataset_id, anew=True)

    async def check() -> None:
        state["health"] = await visit.health(dataset_id, anew=True)
        await thumbnails.fetch(_pictured(state["health"].report))
        shown.draw()

    async def look() -> None:
        if not state["health"].is_running:
            return
        state["health"] = await visit.health(dataset_id)
        await thumbnails.fetch(_pictured(state["health"].report))
        shown.draw()

    await thumbnails.fetch(_pictured(state["health"].report))
    with pieces.card():
        with pieces.element("div", "lehr-line lehr-spread"):
            pieces.text("Health before a training", tag="h2")
            pieces.button("Check again", check, icon="refresh")
        shown = pieces.Redrawn(lambda _: _report(visit, state["health"], thumbnails, inputs))
    visit.every(_LOOK_SECONDS, look)


def _pictured(report: Report | None) -> list[str]:
    findings = report.findings if report else ()
    return [each for finding in findings for each in finding.item_ids[:_SHOWN]]


def _report(visit: Visit, health: Health, thumbnails: Thumbnails, inputs: str) -> None:
    if health.is_running:
        pieces.badge("being checked", "busy").props("role=status")
    if health.problem:
        pieces.text(f"The last check failed: {health.problem}", classes="lehr-problem").props("role=alert")
    report = health.report
    if report is None:
        return
    when = datetime.fromtimestamp(health.made_at_ms / 1000, UTC)
    _sums(report)
    if not report.findings:
        _finding_line("good", "Nothing stands in the way of a training.")
    for finding in report.findings:
        _finding(visit, finding, thumbnails)
    if report.concepts:
        _concepts(report.concepts, inputs)
    pieces.text(f"As it was at {when:%Y-%m-%d %H:%M} UTC.", classes="lehr-quiet lehr-small")


def _sums(report: Report) -> None:
    with pieces.element("div", "lehr-sums"):
        for number, noun in (
            (report.num_items, "readable pictures"),
            (report.num_labelled, "labelled"),
            (report.num_boxes, "boxes"),
            (len(report.concepts), "concepts"),
        ):
            with pieces.element("div"):
                pieces.text(words.count(number), tag="span", classes="lehr-figure-number")
                pieces.text(f" {noun}", tag="span", classes="lehr-quiet")


_ICONS = {"good": "check_circle", "warn": "warning", "bad": "error"}


def _finding_line(level: str, text: str) -> None:
    with pieces.element("div", f"lehr-finding lehr-finding-{level}"):
        pieces.icon(_ICONS[level])
        pieces.text(text, classes="lehr-grow lehr-wrap")


def _finding(visit: Visit, finding: Finding, thumbnails: Thumbnails) -> None:
    with pieces.element("div", f"lehr-finding lehr-finding-{finding.level}"):
        pieces.icon(_ICONS[finding.level])
        with pieces.element("div", "lehr-grow"):
            pieces.text(finding.text, classes="lehr-wrap")
            strip(visit, finding.item_ids[:_SHOWN], thumbnails)
            if len(finding.item_ids) > _SHOWN:
                path = f"{visit.under_app('inputs')}?{urlencode({'ids': ','.join(finding.item_ids)})}"
                pieces.text_link(f"Show the first {len(finding.item_ids)}", path, classes="lehr-small")


def _concepts(concepts: tuple[ConceptCount, ...], inputs: str) -> None:
    most = max(each.num_items for each in concepts)
    with pieces.table("Concepts", "Concept", "Pictures", "Boxes", "", numbers=("Pictures", "Boxes")):
        for each in concepts[:200]:
            with pieces.element("tr"):
                with pieces.element("td"):
                    pieces.text_link(each.id, f"{inputs}&{urlencode({'concept': each.id})}")
                pieces.text(words.count(each.num_items), tag="td", classes="lehr-number")
                pieces.text(words.count(each.num_boxes), tag="td", classes="lehr-number")
                with pieces.element("td", "lehr-share-cell"), pieces.element("div", "lehr-share"):
                    pieces.element("div").style(f"width: {100 * each.num_items / most:.1f}%")


# -- versions ----------------------------------------------------------------------------------------------------------


async def _versions(visit: Visit, dataset_id: str) -> None:
    asked = await visit.ask("ListDatasetVersions", dataset_id=dataset_id, page=1, per_page=100)
    with pieces.card("Frozen versions"):
        if not asked.dataset_versions:
            advice = "None yet. A version keeps inputs and labels as they are now, whatever becomes of them later."
            pieces.text(advice, classes="lehr-quiet")
            return
        with pieces.table("Frozen versions", "Version", "What for", "Frozen", ""):
            for version in asked.dataset_versions:
                _version(visit, version)


def _version(visit: Visit, version: resources_pb2.DatasetVersion) -> None:
    async def delete() -> None:
        question = "Models that were trained on it stay; it cannot be trained on again."
        if await pieces.confirmed(f"Delete version {version.id[:8]}?", question, "Delete"):
            ids = [version.id]
            await visit.ask("DeleteDatasetVersions", dataset_id=version.dataset_id, dataset_version_ids=ids)
            visit.reload()

    with pieces.element("tr"):
        pieces.text(version.id, tag="td", classes="lehr-mono lehr-wrap")
        pieces.text(version.description, tag="td", classes="lehr-wrap")
        pieces.text(words.ago(version.created_at), tag="td", classes="lehr-quiet")
        with pieces.element("td", "lehr-number"):
            pieces.icon_button("delete", f"Delete version {version.id[:8]}", delete)


async def _ask_to_freeze(visit: Visit, dataset_id: str) -> None:
    with pieces.dialog("Freeze a version") as window, pieces.dialog_card("Freeze a version"):
        pieces.text("Inputs and labels are kept as they are at this moment.", classes="lehr-quiet")
        about = pieces.field("What for? (optional)").props("autofocus")

        async def freeze() -> None:
            order = resources_pb2.DatasetVersion(description=about.value)
            await visit.ask("PostDatasetVersions", dataset_id=dataset_id, dataset_versions=[order])
            visit.reload()

        about.on("keydown.enter", freeze)
        with pieces.row("lehr-end"):
            pieces.button("Cancel", window.close)
            pieces.button("Freeze", freeze, kind="main")
    window.open()


async def _delete(visit: Visit, dataset_id: str) -> None:
    question = "Its versions go with it; the inputs stay."
    if await pieces.confirmed(f"Delete dataset {dataset_id}?", question, "Delete"):
        await visit.ask("DeleteDatasets", dataset_ids=[dataset_id])
        visit.go(visit.under_app("datasets"))


PAGE = Page(path="/users/{user_id}/apps/{app_id}/datasets/{dataset_id}", title="Dataset", build=build, under="Datasets")
