"""A folder of pictures for each label, perhaps below train/, val/ and test/; others have no label."""

from __future__ import annotations

from pathlib import Path

from lehr.imports.findings import Findings
from lehr.imports.picture import SPLITS, Picture, pictures_in, split_in


def is_here(folder: Path) -> bool:
    """Whether there are any pictures."""
    return bool(pictures_in(folder))


def read(folder: Path, findings: Findings) -> list[Picture]:
    """Every picture; the label is the folder it lies in, but for what only says which part it is."""
    made = []
    for path in pictures_in(folder):
        name = path.relative_to(folder)
        *parents, _ = name.parts
        split = split_in(parents[:1])
        labels = [part for part in (parents[1:] if split else parents) if part.lower() not in ("images", *SPLITS)]
        if not labels:
            findings.notice("pictures lie in no folder that names a label", str(name))
        made.append(Picture(path=path, name=name.as_posix(), labels=tuple(labels[-1:]), split=split))
    return made
