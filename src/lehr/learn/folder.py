"""Reads pictures from a folder of class folders, as most people keep them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from lehr.errors import InvalidInput
from lehr.learn.items import Item

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif"})
_SPLITS = {"train": "train", "training": "train", "test": "test", "val": "test", "valid": "test", "validation": "test"}


def read_folder(folder: Path) -> list[Item]:
    """One item per picture; its concept is the name of the folder it lies in.

    Either `folder/cat/1.jpg`, or `folder/train/cat/1.jpg` beside `folder/test/cat/9.jpg` (val, valid, validation too).
    Files that are no pictures by their names are passed over, and so is what begins with a dot.
    Raises InvalidInput when there is nothing of that shape.
    """
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is no folder; give a folder that holds one folder of pictures per class.")
    subfolders = _subfolders(folder)
    splits = {sub: _SPLITS[sub.name.lower()] for sub in subfolders if sub.name.lower() in _SPLITS}
    if splits and len(splits) == len(subfolders):
        items = [item for sub, split in splits.items() for item in _items(sub, split, folder)]
    else:
        items = list(_items(folder, "", folder))
    if not items:
        raise InvalidInput(
            f"{folder} holds no pictures in class folders; put them like {folder.name}/cat/1.jpg and "
            f"{folder.name}/dog/2.jpg (accepted: {', '.join(sorted(SUFFIXES))})."
        )
    return items


def _items(folder: Path, split: str, root: Path) -> Iterator[Item]:
    for class_folder in _subfolders(folder):
        for path in sorted(class_folder.rglob("*")):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                yield Item(
                    id=str(path.relative_to(root)),
                    sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                    read=path.read_bytes,
                    positives=frozenset({class_folder.name}),
                    split=split,
                )


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
