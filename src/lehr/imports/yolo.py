"""YOLO: a text file of each picture, a line of each box: class, centre, width and height as parts of the picture; or
class and the corners of an outline. Names stand in data.yaml, classes.txt or obj.names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lehr.imports.boxes import around, fitted
from lehr.imports.findings import Findings
from lehr.imports.picture import Picture, Shape, pictures_in, split_in

_LISTS = ("classes.txt", "obj.names", "classes.names", "_darknet.labels")
_LARGEST = 2.0
"""Parts of a side are at most 1; far more means that the values are pixels."""


def is_here(folder: Path) -> bool:
    """Whether there are names, and text files for pictures."""
    return _names(folder) is not None and any(_label_file(path) for path in pictures_in(folder))


def read(folder: Path, findings: Findings) -> list[Picture]:
    """Every picture with its lines; one without a file has none, as the format has it."""
    names = _names(folder)
    if not names:
        findings.error("folders have no list of class names: put it into data.yaml or classes.txt", folder.name)
        return []
    made = []
    for path in pictures_in(folder):
        name = path.relative_to(folder)
        file = _label_file(path)
        if file is None:
            findings.notice("pictures have no file of labels: they are taken as empty", name.as_posix())
        shapes = tuple(_shapes(file, names, findings)) if file else ()
        made.append(Picture(path=path, name=name.as_posix(), shapes=shapes, split=split_in(name.parts[:-1])))
    return made


def _names(folder: Path) -> list[str] | None:
    for path in (*sorted(folder.glob("*.yaml")), *sorted(folder.glob("*.yml"))):
        found = _names_in_yaml(path)
        if found:
            return found
    for path in (path for name in _LISTS for path in (folder / name, folder / "labels" / name)):
        if path.is_file():
            return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    return None


def _names_in_yaml(path: Path) -> list[str] | None:
    """`names` as a list, or as a mapping from 0 on."""
    import yaml  # type: ignore[import-untyped]

    try:
        content: Any = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return None
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        return [str(names[number]) for number in range(len(names))]
    return [str(name) for name in names] if isinstance(names, list) else None


def _label_file(path: Path) -> Path | None:
    """`…/images/…/a.jpg` has `…/labels/…/a.txt`, any other picture the file beside it."""
    parts = list(path.parts)
    candidates = [path.with_suffix(".txt")]
    if "images" in parts:
        place = len(parts) - 1 - parts[::-1].index("images")
        candidates.insert(0, Path(*parts[:place], "labels", *parts[place + 1 :]).with_suffix(".txt"))
    return next((each for each in candidates if each.is_file() and each.name not in _LISTS), None)


def _shapes(file: Path, names: Sequence[str], findings: Findings) -> Iterator[Shape]:
    for number, line in enumerate(file.read_text("utf-8", "replace").splitlines(), 1):
        where = f"{file.name}:{number}"
        if not line.strip():
            continue
        try:
            class_, *values = (float(word) for word in line.split())
        except ValueError:
            findings.error("lines are no numbers", where)
            continue
        if class_ != int(class_) or not 0 <= class_ < len(names):
            findings.error(f"lines name a class that is not one of the {len(names)} declared", f"{where}: {class_:g}")
        elif max(map(abs, values), default=0) > _LARGEST:
            findings.error("lines are in pixels; YOLO's are parts of the picture, from 0 to 1", where)
        elif shape := _shape(names[int(class_)], values, where, findings):
            yield shape


def _shape(name: str, values: Sequence[float], where: str, findings: Findings) -> Shape | None:
    if len(values) in (4, 5):  # 5: with a confidence
        x, y, wide, high = values[:4]
        return fitted(name, (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2), where, findings)
    if len(values) >= 6 and len(values) % 2 == 0:
        outline = list(zip(values[::2], values[1::2], strict=True))
        return fitted(name, around(outline), where, findings, outline)
    findings.error("lines have neither four numbers of a box nor the corners of an outline", where)
    return None
