"""COCO: JSON files with images, annotations and categories, beside or above the pictures. Format: cocodataset.org."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lehr.imports.boxes import around, fitted
from lehr.imports.findings import Findings
from lehr.imports.picture import Picture, Shape, pictures_in, size_of, split_in

_HEAD_BYTES = 1 << 16
_KEYS = ('"images"', '"annotations"', '"categories"')


def is_here(folder: Path) -> bool:
    """Whether there is such a file."""
    return bool(_files(folder))


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*.json")) if _is_coco(path)]


def _is_coco(path: Path) -> bool:
    """Whether it is an object with the three lists; their order is free, so a long file is read whole."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES).decode("utf-8", "replace")
    if not head.lstrip().startswith("{") or not any(key in head for key in (*_KEYS, '"info"', '"licenses"')):
        return False
    text = path.read_text("utf-8", "replace")
    return all(key in text for key in _KEYS)


def read(folder: Path, findings: Findings) -> list[Picture]:
    """The pictures of every file, with what it says of them."""
    made: list[Picture] = []
    for path in _files(folder):
        place = path.relative_to(folder).as_posix()
        try:
            content = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            findings.error("files are no valid JSON", f"{place}: {error}")
            continue
        if all(isinstance(content.get(key), list) for key in ("images", "annotations", "categories")):
            made += _File(folder=folder, path=path, content=content, findings=findings).pictures()
    _tell_unnamed(folder, made, findings)
    return made


def _tell_unnamed(folder: Path, made: Sequence[Picture], findings: Findings) -> None:
    named = {picture.path for picture in made}
    for path in pictures_in(folder):
        if path not in named:
            findings.notice("picture files are named by no annotation file and are left out", _name(folder, path))


@dataclass(frozen=True, kw_only=True)
class _File:
    folder: Path
    path: Path
    content: Mapping[str, Any]
    findings: Findings

    def pictures(self) -> Iterator[Picture]:
        names = self._names()
        notes = self._notes()
        words = [*self.path.stem.replace("-", "_").split("_"), self.path.parent.name]
        split = split_in(reversed(words))
        for image in self.content["images"]:
            path = self._file_of(str(image.get("file_name", "")))
            if path is None:
                self.findings.error("pictures are named but not there", str(image.get("file_name")))
                continue
            size = (image.get("width"), image.get("height"))
            width, height = size if all(size) else size_of(path) or (0, 0)
            shapes = [
                shape for note in notes.get(image.get("id"), ()) if (shape := self._shape(note, names, width, height))
            ]
            labels = tuple(names[each] for each in image.get("labels", ()) if each in names)
            yield Picture(path=path, name=_name(self.folder, path), labels=labels, shapes=tuple(shapes), split=split)

    def _names(self) -> dict[Any, str]:
        """Category id → name. Ids that are used twice are errors: which of them a box means cannot be known."""
        names: dict[Any, str] = {}
        for category in self.content["categories"]:
            number, name = category.get("id"), str(category.get("name", "")).strip()
            if number in names and names[number] != name:
                self.findings.error("category ids stand for two names", f"{number}: {names[number]} and {name}")
            if not name:
                self.findings.error("categories have no name", str(number))
            names[number] = name
        return names

    def _notes(self) -> dict[Any, list[Mapping[str, Any]]]:
        notes: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
        known = {image.get("id") for image in self.content["images"]}
        for note in self.content["annotations"]:
            if note.get("image_id") not in known:
                self.findings.error("annotations are of a picture that is not listed", f"annotation {note.get('id')}")
            elif note.get("iscrowd"):
                self.findings.notice("annotations are of crowds and are left out", f"annotation {note.get('id')}")
            else:
                notes[note["image_id"]].append(note)
        return notes

    def _shape(self, note: Mapping[str, Any], names: Mapping[Any, str], width: float, height: float) -> Shape | None:
        where = f"annotation {note.get('id')}"
        name = names.get(note.get("category_id"))
        if not name:
            self.findings.error(
                "annotations name a category that is not declared", f"{where}: category {note.get('category_id')}"
            )
            return None
        if not width or not height:
            self.findings.error("pictures have no known size", where)
            return None
        outline = _outline(note.get("segmentation"), width, height)
        box = note.get("bbox")
        if isinstance(box, list) and len(box) == 4:
            left, top, wide, high = (float(value) for value in box)
            sides = (left / width, top / height, (left + wide) / width, (top + high) / height)
        elif outline:
            sides = around(outline)
        else:
            self.findings.error("annotations have neither a box nor an outline", where)
            return None
        return fitted(name, sides, where, self.findings, outline)

    def _file_of(self, name: str) -> Path | None:
        """Where a picture lies: beside the file, or where the usual layouts have it."""
        stem = self.path.stem.replace("instances_", "").replace("_annotations.coco", "")
        here = self.path.parent
        roots: tuple[Path, ...] = (
            here,
            here / "images",
            here / stem,
            here.parent,
            here.parent / "images",
            here.parent / stem,
        )
        roots += (here.parent / "images" / stem, self.folder, self.folder / "images", self.folder / stem)
        inside = self.folder.resolve()
        for root in roots if name else ():
            path = root / name
            if path.is_file() and path.resolve().is_relative_to(inside):
                return path
        return None


def _outline(segmentation: Any, width: float, height: float) -> tuple[tuple[float, float], ...]:
    """The largest polygon; nothing for run lengths."""
    if not isinstance(segmentation, list):
        return ()
    polygons = [flat for flat in segmentation if isinstance(flat, list) and len(flat) >= 6 and len(flat) % 2 == 0]
    flat = max(polygons, key=len, default=[])
    return tuple((float(x) / width, float(y) / height) for x, y in zip(flat[::2], flat[1::2], strict=True))


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()
