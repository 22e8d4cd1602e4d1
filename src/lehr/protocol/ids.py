"""Resource ids: what is accepted, how ours are made, and the pair that names an app."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

from lehr.errors import InvalidRequest

PATTERN = re.compile(r"[0-9A-Za-z][-_.0-9A-Za-z]*")
MAX_LENGTH = 48


@dataclass(frozen=True, order=True)
class AppRef:
    """An application, named by its owner and its id."""

    user_id: str
    app_id: str


PUBLIC_APP = AppRef("clarifai", "main")
"""The app of the built-in models and workflows: everybody may use it, nobody may change it."""


def new_id() -> str:
    """32 hexadecimal digits, as the public clients expect of version ids."""
    return uuid.uuid4().hex


def checked_id(value: str, what: str, *, refuse: type[InvalidRequest] = InvalidRequest) -> str:
    """The id itself: 1 to 48 letters, digits, `-`, `_` or `.`, a letter or digit first. Raises `refuse` otherwise."""
    if len(value) <= MAX_LENGTH and PATTERN.fullmatch(value):
        return value
    raise refuse(
        f"{what} id {value[:80]!r} is not usable: an id has 1 to {MAX_LENGTH} letters, digits, '-', '_' or '.', "
        "and begins with a letter or digit"
    )
