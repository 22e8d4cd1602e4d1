"""Data sets as people have them on their disks, and the way of each into an app.

A format is one file here and one line in `FORMATS`. Each finds out whether a folder is of its kind and reads pictures
with labels, boxes and outlines; what it finds wrong is collected, not raised. Nothing here touches a store: pictures go
through the public API of a running server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lehr.errors import InvalidRequest
from lehr.imports import coco, csv_table, image_folder, voc, yolo
from lehr.imports.findings import Findings
from lehr.imports.picture import Picture

__all__ = ["FORMATS", "Format", "format_of"]


@dataclass(frozen=True, kw_only=True)
class Format:
    """One way of keeping a labelled data set in a folder."""

    name: str
    looks_like: str
    """What a folder of this kind has in it."""
    is_here: Callable[[Path], bool]
    read: Callable[[Path, Findings], list[Picture]]


FORMATS = (
    Format(
        name="coco",
        looks_like="JSON files with images, annotations and categories",
        is_here=coco.is_here,
        read=coco.read,
    ),
    Format(
        name="yolo",
        looks_like="data.yaml (or classes.txt) with names, and a text file beside each picture or under labels/",
        is_here=yolo.is_here,
        read=yolo.read,
    ),
    Format(
        name="voc",
        looks_like="an XML file of each picture, often Annotations/ beside JPEGImages/",
        is_here=voc.is_here,
        read=voc.read,
    ),
    Format(
        name="csv",
        looks_like="a CSV file with a column of file names and one of labels",
        is_here=csv_table.is_here,
        read=csv_table.read,
    ),
    Format(
        name="image-folder",
        looks_like="a folder of pictures for each label",
        is_here=image_folder.is_here,
        read=image_folder.read,
    ),
)
"""In the order in which they are looked for: folders of pictures are part of every other format."""


def format_of(folder: Path, name: str = "") -> Format:
    """The format of that name, or the one that the folder is in. Raises InvalidRequest."""
    if not folder.is_dir():
        raise InvalidRequest(f"{folder} is no folder.")
    if name:
        return next(each for each in FORMATS if each.name == name)
    found = [each for each in FORMATS if each.is_here(folder)]
    labelled = [each for each in found if each.name != "image-folder"]
    if len(labelled) > 1:
        names = " and ".join(each.name for each in labelled)
        raise InvalidRequest(f"{folder} looks like {names}: say which one to read, with --format.")
    if not found:
        known = "; ".join(f"{each.name}: {each.looks_like}" for each in FORMATS)
        raise InvalidRequest(f"{folder} holds nothing that is known. {known}.")
    return found[0]
