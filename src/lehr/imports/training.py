"""What `lehr train` learns from: a data set as it lies on a disk, as items of the learning library.

The server gets the same through `lehr import`; here nothing is sent anywhere, and labels are concepts as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from lehr.errors import InvalidInput
from lehr.imports import format_of
from lehr.imports.findings import Findings
from lehr.imports.picture import Picture, Shape
from lehr.learn.folder import read_folder
from lehr.learn.items import Box, Item

_SPLITS = {"train": "train", "val": "test", "test": "test"}
"""Parts that are not trained on are what the model is judged by."""


def items_in(
    folder: Path, format: str = "", *, with_errors: bool = False, say: Callable[[str], None] = print
) -> list[Item]:
    """Every picture with its labels and boxes; what is odd about the data set is said.

    `format`: a name of `FORMATS`; "": found out. `with_errors` goes on although something would be lost.
    Raises InvalidInput or InvalidRequest, with the sentence for the person.
    """
    format_ = format_of(folder, format)
    if format_.name == "image-folder":
        return read_folder(folder)
    findings = Findings()
    pictures = format_.read(folder, findings)
    say(f"{folder}: {format_.name}, {len(pictures):,} pictures")
    for kind in findings:
        say(f"  {'!' if kind.is_error else '-'} {kind}")
    if findings.has_errors and not with_errors:
        raise InvalidInput(
            f"Nothing was trained on {folder}: mend what is marked `!`, or give --with-errors to train on the rest."
        )
    if not pictures:
        raise InvalidInput(f"{folder} has no picture that could be trained on.")
    return [_item(picture) for picture in pictures]


def _item(picture: Picture) -> Item:
    return Item(
        id=picture.name,
        sha256=hashlib.sha256(picture.path.read_bytes()).hexdigest(),
        read=picture.path.read_bytes,
        positives=frozenset(picture.labels),
        split=_SPLITS.get(picture.split, ""),
        boxes=tuple(_box(shape) for shape in picture.shapes),
    )


def _box(shape: Shape) -> Box:
    left, top, right, bottom = shape.box
    return Box(concept=shape.label, top=top, left=left, bottom=bottom, right=right)
