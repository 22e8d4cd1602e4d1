"""A window in which one of an app's inputs is chosen by its picture."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import ui

from lehr.web import pieces
from lehr.web.components.gallery import Gallery
from lehr.web.page import Visit


async def choose_input(visit: Visit, act: Callable[[str], None]) -> None:
    """Opens it; `act` gets the id of the input that was chosen."""
    some = (await visit.ask("ListInputs", page=1, per_page=1)).inputs
    heading = "Choose an input"
    with pieces.dialog(heading) as window, pieces.dialog_card(heading).classes("lehr-picking"):
        if some:
            source = {"kind": "inputs", "status": 0, "ids": []}
            gallery = Gallery(app=visit.needed_app(), source=source, total=None, picks=True)
            gallery.on_picked(lambda input_id: _chosen(window, act, input_id))
        else:
            pieces.text("This app has no inputs yet.", classes="lehr-quiet")
        with pieces.row("lehr-end"):
            pieces.button("Cancel", window.close)
    window.open()


def _chosen(window: ui.dialog, act: Callable[[str], None], input_id: str) -> None:
    window.close()
    act(input_id)
