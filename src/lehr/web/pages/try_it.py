"""Trying a model or a workflow on a picture or a video, and the same call to copy."""

from __future__ import annotations

from lehr.web import pieces
from lehr.web.components.trial import Target, Trial
from lehr.web.input_choice import choose_input
from lehr.web.page import Page, Tab, Visit
from lehr.web.snippets import Asking, as_curl, as_python, snippet
from lehr.web.targets import Targets, targets_of, versions_of


async def build(visit: Visit) -> None:
    """Who is asked, what is shown, the answer, the call."""
    pieces.title("Try it", "Drop a picture or a video on a model or a workflow, and see what it finds.")
    targets = await targets_of(visit)
    if not targets.names:
        pieces.empty("auto_awesome", "Nothing to try yet", "Train a model, or make a workflow, and try it here.")
        return
    name = visit.query("with")
    name = name if name in targets.names else targets.first()
    target = targets.target(name, visit.query("version"))
    toolbar = pieces.element("div", "lehr-toolbar", role="group", **{"aria-label": "What is asked"})
    trial = Trial(
        app=visit.needed_app(),
        target=target,
        input_id=visit.query("input"),
        picture=visit.query("picture"),
        least=_share(visit.query("least")),
    )
    call = _call_card(visit, targets, name)
    with toolbar:
        await _choices(visit, targets, name)
        pieces.button("Choose an input", lambda: choose_input(visit, picked), icon="photo_library")

    def picked(input_id: str) -> None:
        visit.remember(input=input_id, picture="")
        trial.look_at(input_id)
        call.draw()

    def dropped(picture: str) -> None:
        visit.remember(picture=picture, input="")
        call.draw()

    trial.on_dropped(dropped)
    trial.on_least(lambda least: visit.remember(least=f"{least:g}" if least else ""))


def _share(told: str) -> float:
    try:
        return min(1.0, max(0.0, float(told)))
    except ValueError:
        return 0.0


async def _choices(visit: Visit, targets: Targets, name: str) -> None:
    """Another model or version is another address, and the page is shown anew with the same picture."""

    def another(**values: str) -> None:
        visit.state.update(values)
        visit.remember()
        visit.reload()

    choice = pieces.choice(dict(targets.names), "Model or workflow", name, with_input=len(targets.names) > 10)
    choice.classes("lehr-wide-field").on_value_change(
        lambda event: another(**{"with": str(event.value or ""), "version": ""}) if event.value else None
    )
    kind, _, id_ = name.partition(":")
    versions = await versions_of(visit, id_) if kind == "model" else {}
    if len(versions) > 1:
        chosen = visit.query("version")
        options = {"": "newest version", **versions}
        picked = pieces.choice(options, "Version", chosen if chosen in options else "")
        picked.on_value_change(lambda event: another(version=str(event.value or "")))


# -- the call ----------------------------------------------------------------------------------------------------------


def _call_card(visit: Visit, targets: Targets, name: str) -> pieces.Redrawn:
    with pieces.card("The same from your code"):
        pieces.text("Both read your key from CLARIFAI_PAT; it is not in the text.", classes="lehr-quiet lehr-small")
        return pieces.Redrawn(lambda _: _calls(visit, targets.target(name, visit.query("version"))))


def _calls(visit: Visit, target: Target) -> None:
    asking = Asking(
        base_url=visit.client.base_url, app=visit.needed_app(), target=target, input_id=visit.query("input")
    )
    with pieces.element("div", "lehr-halves"):
        for label, code in (("curl", as_curl(asking)), ("Python", as_python(asking))):
            with pieces.element("div", "lehr-stack"):
                pieces.text(label, tag="h3")
                snippet(code, label)


PAGE = Page(
    path="/users/{user_id}/apps/{app_id}/try",
    title="Try it",
    build=build,
    tab=Tab(label="Try it", icon="auto_awesome"),
    wide=True,
)
