"""Pascal VOC: an XML file of each picture with objects, each a name and a box in pixels that count from 1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from lehr.imports.boxes import fitted
from lehr.imports.findings import Findings
from lehr.imports.picture import Picture, Shape, pictures_in, size_of, split_in

_HEAD_BYTES = 4096


def is_here(folder: Path) -> bool:
    """Whether there is such a file."""
    return any(_is_voc(path) for path in sorted(folder.rglob("*.xml")))


def _is_voc(path: Path) -> bool:
    with path.open("rb") as file:
        return b"<annotation" in file.read(_HEAD_BYTES)


def read(folder: Path, findings: Findings) -> list[Picture]:
    """The pictures of every file, and those without one as they are."""
    by_stem = {path.stem: path for path in pictures_in(folder)}
    by_name = {path.name: path for path in by_stem.values()}
    splits = _splits(folder)
    made, named = [], set()
    for file in (path for path in sorted(folder.rglob("*.xml")) if _is_voc(path)):
        try:
            root = ElementTree.parse(file).getroot()  # noqa: S314
        except ElementTree.ParseError as error:
            findings.error("files are no valid XML", f"{file.name}: {error}")
            continue
        path = by_name.get(Path(root.findtext("filename") or "").name) or by_stem.get(file.stem)
        if path is None:
            findings.error("pictures are named but not there", root.findtext("filename") or file.name)
            continue
        named.add(path)
        name = path.relative_to(folder)
        split = splits.get(path.stem) or split_in(name.parts[:-1])
        shapes = tuple(_shapes(root, path, findings))
        made.append(Picture(path=path, name=name.as_posix(), shapes=shapes, split=split))
    for path in set(by_stem.values()) - named:
        findings.notice("picture files have no XML file and are left out", path.relative_to(folder).as_posix())
    return made


def _splits(folder: Path) -> dict[str, str]:
    """Picture → part, from ImageSets/Main/train.txt and the like; the lists of single classes are longer names."""
    found: dict[str, str] = {}
    for file in sorted(folder.rglob("ImageSets/Main/*.txt")):
        split = split_in([file.stem])
        for line in file.read_text("utf-8").splitlines() if split else ():
            if line.strip():
                found[line.split()[0]] = split
    return found


def _shapes(root: ElementTree.Element, path: Path, findings: Findings) -> Iterator[Shape]:
    width, height = _number(root, "size/width"), _number(root, "size/height")
    seen = size_of(path)
    if seen and width and height and (round(width), round(height)) != seen:
        findings.notice(
            "pictures have another size than their file says; boxes are taken as parts of the size in the file",
            f"{path.name}: {seen[0]} x {seen[1]}, not {width:g} x {height:g}",
        )
    if not width or not height:
        width, height = seen or (0, 0)
    for number, thing in enumerate(root.iter("object"), 1):
        where = f"{path.stem}, object {number}"
        name = (thing.findtext("name") or "").strip()
        sides = [_number(thing, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
        if not name:
            findings.error("objects have no name", where)
        elif None in sides or not width or not height:
            findings.error("objects have no box, or a picture of unknown size", where)
        else:
            left, top, right, bottom = (side for side in sides if side is not None)
            box = (max(0.0, left - 1) / width, max(0.0, top - 1) / height, right / width, bottom / height)
            if shape := fitted(name, box, where, findings):
                yield shape


def _number(element: ElementTree.Element, path: str) -> float | None:
    try:
        return float(element.findtext(path) or "")
    except ValueError:
        return None
