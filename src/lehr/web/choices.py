"""Several things to choose one from, as cards, each with what speaks for it; a group of radio buttons to a keyboard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nicegui import ui

from lehr.web import pieces


@dataclass(frozen=True, kw_only=True)
class Option:
    """One card."""

    id: str
    title: str
    lines: Sequence[str]
    """The first is read first."""
    icon: str = ""
    badge: str = ""


class Choices:
    """The cards; `act` hears which one was chosen."""

    def __init__(self, label: str, options: Sequence[Option], chosen: str, act: Callable[[str], None]) -> None:
        self._act = act
        self._cards: dict[str, ui.element] = {}
        with pieces.element("div", "lehr-choices") as group:
            group.props.update({"role": "radiogroup", "aria-label": label})
            for option in options:
                self._cards[option.id] = self._card(option)
        self.show(chosen)

    def _card(self, option: Option) -> ui.element:
        with pieces.element("button", "lehr-choice", type="button", role="radio") as made:
            made.on("click", lambda: self._choose(option.id))
            with pieces.element("span", "lehr-choice-head"):
                if option.icon:
                    pieces.icon(option.icon)
                pieces.text(option.title, tag="span", classes="lehr-choice-title")
                if option.badge:
                    pieces.badge(option.badge, "accent")
            for number, line in enumerate(line for line in option.lines if line):
                pieces.text(line, tag="span", classes="lehr-small" if number == 0 else "lehr-small lehr-quiet")
        return made

    def _choose(self, option_id: str) -> None:
        self.show(option_id)
        self._act(option_id)

    def show(self, chosen: str) -> None:
        """Marks one as chosen."""
        for option_id, card in self._cards.items():
            card.props["aria-checked"] = "true" if option_id == chosen else "false"
            card.classes(
                add="lehr-choice-lit" if option_id == chosen else "",
                remove="" if option_id == chosen else "lehr-choice-lit",
            )
            card.update()
