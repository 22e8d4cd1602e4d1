"""A button that reads a file of text in the browser and sends what it says."""

from __future__ import annotations

from collections.abc import Callable

from nicegui.element import Element


class TextFile(Element, component="text_file.js"):
    """`accept` is as the browser's chooser takes it."""

    def __init__(self, *, label: str, accept: str) -> None:
        super().__init__()
        self.props.update({"label": label, "accept": accept})

    def on_read(self, act: Callable[[str], None]) -> None:
        """Calls `act` with the text of the file that was chosen."""
        self.on("read", lambda event: act(str(event.args)))
