"""What a template needs to know before it can make a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lehr.learn.device import Device

NONE = "none"
"""What `pretrained_weights` says to start from random weights."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The task in numbers, and the machine."""

    concepts: tuple[str, ...]
    num_items: int
    """Training items."""
    positives: tuple[int, ...]
    """Training items of each concept."""
    device: Device
    weights: Path | None = None
    """Folder of extra pretrained weights."""
    base: Path | None = None
    """Folder of a trained model whose base this training begins with."""
    earlier: Path | None = None
    """Folder of an earlier model of the same template, which this training continues."""
