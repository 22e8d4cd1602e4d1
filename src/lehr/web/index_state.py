"""An app's index as pages show it: how far it is, what to do where there is none, its base workflow changed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lehr.protocol import resources_pb2
from lehr.web import pieces, words
from lehr.web.page import Visit
from lehr.web.workflows import BUILT_IN

Told = Mapping[str, Any]
"""A generation as the server tells of it."""

GENERAL = "General"
_LOOK_SECONDS = 1.5


async def make_base(visit: Visit, workflow: resources_pb2.Workflow) -> None:
    """Has the app's inputs indexed by another workflow's embedder; searches go on by the old one until that is done."""
    app = resources_pb2.App(id=visit.needed_app().app_id)
    app.default_workflow.CopyFrom(
        resources_pb2.Workflow(id=workflow.id, user_id=workflow.user_id, app_id=workflow.app_id)
    )
    await visit.ask("PatchApp", app=app, action="overwrite", reindex=True)


async def no_index(visit: Visit) -> None:
    """What is shown where nothing embeds the inputs."""

    async def begin() -> None:
        general = resources_pb2.Workflow(id=GENERAL, user_id=BUILT_IN.user_id, app_id=BUILT_IN.app_id)
        await make_base(visit, general)
        visit.go(visit.under_app("index"))

    advice = (
        "To find what looks alike, every input must be embedded first. The built-in workflow General does that on this "
        "machine; searching by labels works without."
    )
    with pieces.empty("manage_search", "This app has no index", advice):
        pieces.button(f"Index with {GENERAL}", begin, icon="play_arrow", kind="main")
        pieces.link_button("Choose another workflow", visit.under_app("index"), icon="tune")


@dataclass(kw_only=True)
class Pace:
    """How fast the index grows, from what is left now and was left before."""

    seen: list[tuple[float, int]] = field(default_factory=list)

    def left(self, waiting: int, now: float | None = None) -> str:
        """`about 3 min left`; empty while nobody can tell."""
        now = time.monotonic() if now is None else now
        if self.seen and waiting > self.seen[-1][1]:
            self.seen.clear()
        self.seen = [*self.seen[-40:], (now, waiting)]
        seconds, done = now - self.seen[0][0], self.seen[0][1] - waiting
        if seconds < 3 or done <= 0 or not waiting:
            return ""
        return f"about {words.duration(waiting * seconds / done)} left"


async def progress(visit: Visit, generations: Sequence[Told]) -> None:
    """A bar that follows the index, live; and shows the page anew when it is complete or another index answers.

    `generations`: those that the page shows, asked for before: a short change may be over by now.
    """
    counts = (await visit.ask("GetInputCount")).counts
    serving = _serving(generations)
    pace = Pace()
    state = {"counts": counts, "left": pace.left(_waiting(counts))}
    drawn = pieces.Redrawn(lambda _: _bar(state["counts"], str(state["left"])))

    async def look() -> None:
        now = (await visit.ask("GetInputCount")).counts
        before = _waiting(state["counts"])
        if now != state["counts"]:
            state.update(counts=now, left=pace.left(_waiting(now)))
            drawn.draw()
        if (before and not _waiting(now)) or _serving((await visit.base())[1]) != serving:
            visit.reload()

    visit.every(_LOOK_SECONDS, look)


def _serving(generations: Sequence[Told]) -> int | None:
    """The generation that answers searches."""
    return next((each["number"] for each in generations if each["state"] == "SERVING"), None)


def _waiting(counts: resources_pb2.InputCount) -> int:
    return int(counts.to_reindex + counts.reindexing)


def _bar(counts: resources_pb2.InputCount, left: str) -> None:
    waiting, total = _waiting(counts), counts.reindexed + _waiting(counts) + counts.reindex_errors
    share = 1.0 if not total else (total - waiting) / total
    with pieces.element("div", "lehr-line lehr-spread"):
        told = f"{words.count(counts.reindexed)} of {words.counted(total, 'input')} indexed"
        pieces.text(told).props("role=status")
        if waiting:
            pieces.badge(left or "being built", "busy")
        else:
            pieces.badge("complete", "good")
    track = pieces.element("div", "lehr-share", role="progressbar", **{"aria-label": "Index"})
    track.props.update({"aria-valuenow": round(100 * share), "aria-valuemin": 0, "aria-valuemax": 100})
    with track:
        pieces.element("div").style(f"width: {100 * share:.1f}%")
    if counts.reindex_errors:
        pieces.text(f"{words.counted(counts.reindex_errors, 'input')} could not be indexed.", classes="lehr-problem")
