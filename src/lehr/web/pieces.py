"""What looks the same on every page: titles, cards, figures, buttons, empty states, questions, notifications.

User text is set as text or as a property's value, never parsed as HTML or as a string of properties.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

Act = Callable[[], Awaitable[None] | None]
ActOn = Callable[[str], Awaitable[None]]
"""On what has this id."""


# -- plain elements ----------------------------------------------------------------------------------------------------


def element(tag: str, classes: str = "", **props: Any) -> ui.element:
    """An HTML element with these classes and properties."""
    made = ui.element(tag).classes(classes)
    made.props.update(props)
    return made


def text(content: str, *, tag: str = "div", classes: str = "") -> TextElement:
    """Text in an element of its own."""
    return TextElement(tag=tag, text=content).classes(classes)


def row(classes: str = "") -> ui.element:
    """Things beside each other; they wrap on a phone."""
    return element("div", f"lehr-row {classes}")


def link(path: str, *, classes: str = "", label: str = "") -> ui.element:
    """An anchor to another page of ours; its content is built inside."""
    made = element("a", f"lehr-link {classes}", href=path)
    if label:
        made.props["aria-label"] = label
    return made


def text_link(content: str, path: str, *, classes: str = "") -> ui.element:
    """Text that leads to another page."""
    with link(path, classes=f"lehr-text-link {classes}") as made:
        text(content, tag="span")
    return made


def skip_link() -> None:
    """For the keyboard: past the bar and the tabs."""
    with link("#content", classes="lehr-skip"):
        text("To the content", tag="span")


# -- titles and cards --------------------------------------------------------------------------------------------------


def title(content: str, explained: str = "") -> ui.element:
    """The page's one heading; returns the place to its right, for buttons."""
    with element("div", "lehr-title"):
        with element("div", "lehr-title-words"):
            text(content, tag="h1")
            if explained:
                text(explained, tag="p", classes="lehr-quiet")
        return element("div", "lehr-actions")


def card(heading: str = "", *, classes: str = "") -> ui.element:
    """A framed part of the page, with its heading if given."""
    made = element("section", f"lehr-card {classes}")
    if heading:
        with made:
            text(heading, tag="h2")
    return made


def figure(value: str, label: str, path: str = "") -> TextElement:
    """A number with its name; the returned text can be changed later."""
    with link(path, classes="lehr-figure lehr-figure-link") if path else element("div", "lehr-figure"):
        number = text(value, classes="lehr-figure-number")
        text(label, classes="lehr-figure-label")
    return number


def badge(content: str, kind: str = "plain") -> TextElement:
    """A small word about a thing; `kind` is plain, good, bad, busy or accent."""
    return text(content, tag="span", classes=f"lehr-badge lehr-badge-{kind}")


def empty(icon: str, heading: str, advice: str) -> ui.element:
    """What is shown where nothing is yet; returns the place for the button that changes it."""
    with element("div", "lehr-empty"):
        ui.icon(icon).props("aria-hidden=true").classes("lehr-empty-icon")
        text(heading, tag="h2")
        text(advice, tag="p", classes="lehr-quiet")
        return row("lehr-center")


def icon(name: str, classes: str = "") -> ui.icon:
    """A picture for the eye alone."""
    made = ui.icon(name).classes(classes)
    made.props["aria-hidden"] = "true"
    return made


def table(caption: str, *headings: str, numbers: tuple[str, ...] = ()) -> ui.element:
    """A table with these headings, `numbers` among them to the right; its rows (`tr` of `td`) are built inside."""
    with element("div", "lehr-table-scroll"), element("table", "lehr-table") as made:
        text(caption, tag="caption", classes="lehr-hidden")
        with element("thead"), element("tr"):
            for heading in headings:
                if heading:
                    text(heading, tag="th", classes="lehr-number" if heading in numbers else "").props("scope=col")
                else:
                    element("td")
        with made:
            return element("tbody")


class Redrawn:
    """A part of a page that is drawn anew, for this browser alone."""

    def __init__(
        self,
        draw: Callable[[Redrawn], object],
        *,
        classes: str = "lehr-stack",
        shows: Callable[[], object] | None = None,
    ) -> None:
        """`draw` gets this very object, for buttons that change what is drawn; `shows` tells what it is drawn from."""
        self._draw, self._shows, self._shown = draw, shows, object()
        self._place = element("div", classes)
        self.draw()

    def draw(self) -> None:
        """Draws it as things are now; not where all that it shows is as it was: a click on it would be lost."""
        if self._shows is not None:
            before, self._shown = self._shown, self._shows()
            if self._shown == before:
                return
        self._place.clear()
        with self._place:
            self._draw(self)


# -- buttons and fields ------------------------------------------------------------------------------------------------


def button(label: str, act: Act | None = None, *, icon: str = "", kind: str = "plain") -> ui.button:
    """A button; `kind` is main (one a page), plain or danger."""
    made = ui.button(label, on_click=act, icon=icon or None, color=None).classes(f"lehr-button lehr-button-{kind}")
    made.props("unelevated no-caps")
    return made


def link_button(label: str, path: str, *, icon: str = "", kind: str = "plain") -> ui.button:
    """A button that opens another page; a real link."""
    made = button(label, icon=icon, kind=kind)
    made.props["href"] = path
    return made


def icon_button(icon: str, label: str, act: Act | None = None) -> ui.button:
    """A round button of one icon, with its name for screen readers and as a tip."""
    made = ui.button(icon=icon, on_click=act, color=None).props("flat round dense").classes("lehr-icon-button")
    made.props["aria-label"] = label
    with made:
        ui.tooltip(label)
    return made


def field(label: str, value: str = "", *, hint: str = "", password: bool = False) -> ui.input:
    """A line of text to fill in."""
    made = ui.input(label, value=value, password=password).props("outlined dense").classes("lehr-field")
    if hint:
        made.props["hint"] = hint
    return made


def choice(options: dict[str, str] | list[str], label: str, value: Any = None, **extra: Any) -> ui.select:
    """One of several."""
    kept = options.copy()  # NiceGUI adds to it what is typed
    made = ui.select(kept, label=label, value=value, **extra).props("outlined dense options-dense")
    made.props["aria-label"] = label
    return made.classes("lehr-field")


# -- dialogs and notifications -----------------------------------------------------------------------------------------


def dialog(heading: str) -> ui.dialog:
    """A window above the page; its content is built inside, and `open()` shows it."""
    made = ui.dialog().classes("lehr-dialog")
    made.props["aria-label"] = heading
    return made


def dialog_card(heading: str) -> ui.element:
    """The card inside a dialog."""
    made = element("div", "lehr-card lehr-dialog-card")
    with made:
        text(heading, tag="h2")
    return made


async def confirmed(heading: str, question: str, yes: str) -> bool:
    """Asks before something that cannot be undone."""
    with dialog(heading) as window, dialog_card(heading):
        text(question, tag="p")
        with row("lehr-end"):
            button("Cancel", lambda: window.submit(False))
            button(yes, lambda: window.submit(True), kind="danger")
    answer = await window
    window.delete()
    return bool(answer)


def say(sentence: str) -> None:
    """Good news, at the bottom of the page."""
    ui.notify(sentence, type="positive", classes="lehr-note", timeout=4000)


def warn(sentence: str) -> None:
    """Bad news, until it is closed."""
    ui.notify(sentence, type="negative", classes="lehr-note", timeout=12000, close_button="Close", multi_line=True)
