"""A picture on the disk and what is said of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif"})
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""What parts of a data set are called → what they are called here."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Something in a picture. Positions are parts of its width and height, from 0 to 1."""

    label: str
    box: tuple[float, float, float, float]
    """Left, top, right, bottom."""
    outline: tuple[tuple[float, float], ...] = ()
    """Corners (x, y); empty where only the box is known."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture with its labels."""

    path: Path
    name: str
    """Relative to the folder: its id follows from it, the same each time."""
    labels: tuple[str, ...] = ()
    shapes: tuple[Shape, ...] = ()
    split: str = ""
    """train, val, test or nothing."""


def pictures_in(folder: Path) -> list[Path]:
    """Every picture below a folder, in order of name; hidden ones are passed over."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(folder).parts)
        and path.is_file()
    ]


def split_in(words: Iterable[str]) -> str:
    """The part of a data set that one of the words names: `train2017` is train."""
    for word in words:
        bare = word.lower().rstrip("0123456789")
        if bare in SPLITS:
            return SPLITS[bare]
    return ""


def size_of(path: Path) -> tuple[int, int] | None:
    """Width and height as stored; None for what is no picture."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
