"""Colours and fonts: where they come from, and how a browser's choice of light or dark is kept."""

from __future__ import annotations

import hashlib
from contextvars import ContextVar
from pathlib import Path

STATIC = Path(__file__).parent / "static"
COLOUR_SCHEME: ContextVar[bool | None] = ContextVar("colour_scheme", default=None)
"""True: dark, False: light, None: as the system says; of the request that is being answered."""

NEXT_SCHEME = """() => {
  const dark = !document.body.classList.contains("body--dark");
  document.cookie = `lehr-theme=${dark ? "dark" : "light"}; path=/; max-age=31536000; samesite=strict`;
  setDark(dark);
}"""
"""Turns the page over to the other scheme and keeps the choice, in the browser alone."""


def versioned(name: str) -> str:
    """The address of a file of ours, another one whenever its content is another."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/web/{name}?v={digest}"


SHEETS = ("lehr.css", "using.css", "learning.css")
HEAD = f'<link rel="icon" href="{versioned("lehr.svg")}">' + "".join(
    f'<link rel="stylesheet" href="{versioned(name)}">' for name in SHEETS
)
