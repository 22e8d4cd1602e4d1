"""The training view: how a version's training goes, live, and what became of it."""

from __future__ import annotations

from urllib.parse import urlencode

from lehr.protocol import resources_pb2
from lehr.web import charts, learned, pieces, version_parts, words
from lehr.web.client import Refused
from lehr.web.page import Page, Visit
from lehr.web.pages.models import state_badge
from lehr.web.training_start import same_as

_LOOK_SECONDS = 1.0
_LOG = "training"
_SHOWN_LINES = 200


async def build(visit: Visit) -> None:
    """All of it comes from the store: a reload or a restart in the middle shows the same."""
    view = View(visit, (await _asked(visit)))
    await view.build()


async def _asked(visit: Visit) -> resources_pb2.Model:
    return (await visit.ask("GetModel", model_id=visit.part("model_id"), version_id=visit.part("version_id"))).model


class View:
    """One version as one browser looks at it."""

    def __init__(self, visit: Visit, model: resources_pb2.Model) -> None:
        self.visit, self.model = visit, model
        self.version = model.model_version
        self.history = learned.History(visit, model.id, self.version.id)
        self.log = learned.Told(visit, model.id, self.version.id, _LOG)

    async def build(self) -> None:
        """The page."""
        await self.history.fetch()
        await self.log.fetch()
        about = self.model.id if self.version.description else ""
        with pieces.title(
            f"{self.model.id} · {learned.version_name(self.version)}", about and self.version.description
        ):
            self._head = pieces.Redrawn(lambda _: self._buttons(), classes="lehr-row")
        self._state = pieces.Redrawn(lambda _: self._status())
        self._result_place = pieces.element("div", "lehr-stack")
        self._curves()
        await self._results()
        with pieces.card("Log"):
            self._lines = pieces.Redrawn(lambda _: self._log_lines())
        self._foot = pieces.Redrawn(lambda _: self._last())
        if learned.is_active(self.version):
            self._timer = self.visit.every(_LOOK_SECONDS, self._look)

    # -- live ----------------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        try:
            answer = await self.visit.ask("GetModelVersion", model_id=self.model.id, version_id=self.version.id)
        except Refused as error:
            self._timer.cancel()
            pieces.warn(error.details)
            return
        is_noted = answer.model_version.metadata != self.version.metadata
        self.version = answer.model_version
        if await self.history.fetch():
            self._show_curves()
        if await self.log.fetch():
            self._lines.draw()
        self._state.draw()
        if not learned.is_active(self.version):
            self._timer.cancel()
            self._head.draw()
            self._foot.draw()
        if is_noted or not learned.is_active(self.version):
            await self._results()

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _buttons(self) -> None:
        if learned.is_active(self.version):
            pieces.button("Cancel training", self._cancel, icon="stop", kind="danger")
        elif learned.is_trained(self.version):
            version_parts.next_steps(self.visit, self.model, self.version)
        else:
            path = self.visit.under_app("models", self.model.id, "train")
            same = same_as(self.visit.needed_app(), self.model, self.version)
            pieces.link_button("Train anew", f"{path}?{urlencode(same)}", icon="replay", kind="main")

    def _last(self) -> None:
        version_parts.parameters(self.version)
        if not learned.is_active(self.version):
            with pieces.row("lehr-end"):
                pieces.button("Delete version", self._delete, icon="delete", kind="danger")

    def _status(self) -> None:
        status = self.version.status
        with pieces.card():
            with pieces.element("div", "lehr-line lehr-spread"):
                state_badge(self.version)
                if status.time_remaining and learned.is_active(self.version):
                    pieces.text(f"{words.duration(status.time_remaining)} left", classes="lehr-quiet")
            if learned.is_active(self.version):
                version_parts.progress(status.percent_completed)
            if learned.state_words(self.version)[1] == "bad":
                pieces.text(status.details or status.description, classes="lehr-problem lehr-wrap").props("role=alert")
                pieces.text("The log below says what came before it.", classes="lehr-quiet lehr-small")
            elif status.details:
                pieces.text(status.details, classes="lehr-wrap lehr-quiet")
            self._pace()

    def _pace(self) -> None:
        """The last figures of the run."""
        last = self.history.steps[-1] if self.history.steps else None
        if last is None:
            return
        values = [
            ("Epoch", f"{last['epoch']:.2f}"),
            ("Loss", charts.shown(last.get("loss"))),
            ("Step size", charts.shown(last["lr"])),
        ]
        rates = [rate for _, rate in self.history.of_steps("items_per_second")[-10:] if rate]
        if rates:
            values.append(("Items per second", f"{sorted(rates)[len(rates) // 2]:,.0f}"))
        seconds = [point["seconds"] for point in self.history.epochs]
        if seconds:
            values.append(("Seconds an epoch", f"{sum(seconds) / len(seconds):.1f}"))
        with pieces.element("div", "lehr-sums"):
            for name, value in values:
                with pieces.element("div"):
                    pieces.text(value, tag="span", classes="lehr-figure-number")
                    pieces.text(f" {name.lower()}", tag="span", classes="lehr-quiet")

    def _curves(self) -> None:
        """Loss and held-out figures beside each other, step size and speed below."""
        self._charts: list[charts.Curves] = []
        self._curve_place = pieces.element("div", "lehr-halves")
        self._show_curves()

    def _show_curves(self) -> None:
        wanted = self._wanted()
        if len(wanted) != len(self._charts):
            self._curve_place.clear()
            with self._curve_place:
                self._charts = [self._chart(heading, axes, series) for heading, axes, series in wanted]
            return
        for chart, (_, _, series) in zip(self._charts, wanted, strict=True):
            chart.show(series)

    def _chart(self, heading: str, axes: charts.Axes, series: list[charts.Series]) -> charts.Curves:
        with pieces.card(heading):
            return charts.Curves(heading, axes, series)

    def _wanted(self) -> list[tuple[str, charts.Axes, list[charts.Series]]]:
        history = self.history
        if not history.steps and not history.epochs:
            return []
        rates, speed = history.of_steps("lr"), history.of_steps("items_per_second")
        found = [("Loss", charts.Axes(x="epoch", least=0), history.losses())]
        if history.measured():
            found.append(("On the held-out part", charts.Axes(x="epoch", least=0, most=1), history.measured()))
        for heading, points, colour in (
            ("Step size", rates, charts.COLOURS[3]),
            ("Items per second", speed, charts.COLOURS[4]),
        ):
            if points:
                series = charts.Series(name=heading.lower(), points=points, colour=colour)
                found.append((heading, charts.Axes(x="epoch", least=0), [series]))
        return found

    async def _results(self) -> None:
        """Early warnings as soon as there are any, the rest once it is trained."""
        self._result_place.clear()
        is_trained = learned.is_trained(self.version)
        with self._result_place:
            if is_trained:
                version_parts.summary(self.visit, self.model, self.version)
            await version_parts.findings(self.visit, self.version)
            if is_trained:
                await version_parts.evaluations(self.visit, self.model, self.version)

    def _log_lines(self) -> None:
        lines = self.log.lines[-_SHOWN_LINES:]
        if not lines:
            pieces.text("Nothing yet: it is written once the training begins.", classes="lehr-quiet")
            return
        with pieces.element("div", "lehr-code lehr-log", tabindex=0, role="log") as made:
            made.props["aria-label"] = "Log of the training"
            pieces.text("\n".join(_timed(line) for line in lines), tag="pre")
        if len(self.log.lines) > len(lines):
            pieces.text(
                f"The last {len(lines)} of {words.counted(len(self.log.lines), 'line')}.",
                classes="lehr-quiet lehr-small",
            )

    # -- acts ----------------------------------------------------------------------------------------------------------

    async def _cancel(self) -> None:
        question = "It ends at its next step; the version and what it has learned so far are deleted."
        if await pieces.confirmed("Cancel this training?", question, "Cancel training"):
            await self._gone()

    async def _delete(self) -> None:
        question = "Its evaluations and its export go with it. It cannot be brought back."
        if await pieces.confirmed("Delete this version?", question, "Delete"):
            await self._gone()

    async def _gone(self) -> None:
        if hasattr(self, "_timer"):
            self._timer.cancel()
        await self.visit.ask("DeleteModelVersion", model_id=self.model.id, version_id=self.version.id)
        self.visit.go(self.visit.under_app("models", self.model.id))


def _timed(line: str) -> str:
    """A line of the log with the time of day alone: `2026-11-22T06:46:36.107Z  text` → `06:46:36  text`."""
    moment, gap, words_said = line.partition("  ")
    return f"{moment[11:19]}{gap}{words_said}" if moment[10:11] == "T" else line


PAGE = Page(
    path="/users/{user_id}/apps/{app_id}/models/{model_id}/versions/{version_id}",
    title="Training",
    build=build,
    under="Models",
)
