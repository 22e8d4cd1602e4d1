"""A CSV file with a column of file names and one of labels; or with boxes, a line of each; or with a column of 0 and 1
for each label.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lehr.imports.boxes import fitted
from lehr.imports.findings import Findings
from lehr.imports.picture import Picture, Shape, pictures_in, size_of, split_in

_PATHS = ("image", "input", "filename", "file_name", "file", "path", "image_path", "filepath", "img", "image_id")
_LABELS = ("label", "labels", "concepts", "concept", "class", "classes", "category", "tags")
_SPLITS = ("split", "set", "subset", "partition")
_SIDES = (("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max"), ("left", "top", "right", "bottom"))
_IGNORED = ("width", "height", "inputid", "id", "metadata", "geopoints")


def is_here(folder: Path) -> bool:
    """Whether there is a CSV file with a column of file names."""
    return any(_columns(path) is not None for path in _files(folder))


def _files(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.csv"), *folder.glob("*/*.csv")])


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """What stands where."""

    path: str
    label: str = ""
    split: str = ""
    sides: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    """Columns of 0 and 1, each a label."""


@dataclass
class _Gathered:
    labels: dict[str, None] = field(default_factory=dict)
    shapes: list[Shape] = field(default_factory=list)
    split: str = ""


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        return [{(key or "").strip(): (value or "").strip() for key, value in row.items()} for row in reader]


def _columns(path: Path) -> _Columns | None:
    """The columns that are understood; None where none names files or none says anything of them."""
    try:
        rows = _rows(path)
    except (csv.Error, AttributeError):
        return None
    names = {name.lower(): name for name in (rows[0] if rows else {})}

    def first(wanted: Sequence[str]) -> str:
        return next((names[each] for each in wanted if each in names), "")

    if not (where := first(_PATHS)):
        return None
    sides = next((tuple(names[s] for s in some) for some in _SIDES if all(s in names for s in some)), ())
    known = {where, first(_SPLITS), *sides, *(names[each] for each in _IGNORED if each in names)}
    flags = tuple(name for name in names.values() if name not in known and _is_flag(rows, name))
    found = _Columns(path=where, label=first(_LABELS), split=first(_SPLITS), sides=sides)
    if found.label:
        return found
    return _Columns(path=where, split=found.split, flags=flags) if flags else None


def _is_flag(rows: Sequence[Mapping[str, str]], name: str) -> bool:
    return bool(name) and all(row[name] in ("0", "1", "0.0", "1.0") for row in rows)


def read(folder: Path, findings: Findings) -> list[Picture]:
    """The pictures that the files name, each once."""
    by_name = {path.name: path for path in pictures_in(folder)}
    gathered: dict[Path, _Gathered] = {}
    for file in _files(folder):
        columns = _columns(file)
        for number, row in enumerate(_rows(file) if columns else (), 2):
            assert columns is not None
            where = f"{file.name}:{number}"
            path = _picture(folder, file, row[columns.path], by_name)
            if path is None:
                findings.error("lines name a picture that is not there", f"{where}: {row[columns.path]}")
                continue
            one = gathered.setdefault(path, _Gathered())
            one.split = split_in([row[columns.split]] if columns.split else [file.stem]) or one.split
            _gather(one, row, columns, path, where, findings)
    for path in set(by_name.values()) - set(gathered):
        findings.notice("picture files are named by no line and are left out", path.relative_to(folder).as_posix())
    return [
        Picture(
            path=path,
            name=path.relative_to(folder).as_posix(),
            labels=tuple(one.labels),
            shapes=tuple(one.shapes),
            split=one.split,
        )
        for path, one in gathered.items()
    ]


def _picture(folder: Path, file: Path, name: str, by_name: Mapping[str, Path]) -> Path | None:
    for path in (file.parent / name, folder / name) if name else ():
        if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
            return path
    return by_name.get(Path(name).name)


def _gather(
    one: _Gathered, row: Mapping[str, str], columns: _Columns, path: Path, where: str, findings: Findings
) -> None:
    if columns.sides and all(row[side] for side in columns.sides):
        if shape := _boxed(row, columns, path, where, findings):
            one.shapes.append(shape)
        return
    labels = [name for name in columns.flags if float(row[name])]
    if columns.label:
        labels = [word.strip() for word in re.split(r"[,;|]", row[columns.label]) if word.strip()]
    if not labels:
        findings.notice("lines have no label", where)
    one.labels |= dict.fromkeys(labels)


def _boxed(row: Mapping[str, str], columns: _Columns, path: Path, where: str, findings: Findings) -> Shape | None:
    size = size_of(path)
    try:
        left, top, right, bottom = (float(row[side]) for side in columns.sides)
        width, height = (float(row.get(name) or 0) for name in ("width", "height"))
    except ValueError:
        findings.error("lines have a side of a box that is no number", where)
        return None
    if not width or not height:
        width, height = size or (0, 0)
    if not row[columns.label] or not width:
        findings.error("lines with a box have no label, or a picture that cannot be read", where)
        return None
    if max(left, top, right, bottom) <= 1:
        width = height = 1  # parts of the picture already
    return fitted(row[columns.label], (left / width, top / height, right / width, bottom / height), where, findings)
