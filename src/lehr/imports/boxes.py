"""Boxes and outlines made fit: cut to their picture, and left out where nothing is left."""

from __future__ import annotations

from collections.abc import Sequence

from lehr.imports.findings import Findings
from lehr.imports.picture import Shape

SLACK = 0.005
"""Rounding: a box may reach beyond its picture by so much of its side without a word."""
CUT = "boxes reach beyond their picture and are cut to it"
EMPTY = "boxes have no area within their picture and are left out"

Corners = Sequence[tuple[float, float]]


def fitted(
    label: str, box: tuple[float, float, float, float], where: str, findings: Findings, outline: Corners = ()
) -> Shape | None:
    """The shape within its picture; None, and a notice, where it has no area there."""
    left, top, right, bottom = box
    inside = (_cut(left), _cut(top), _cut(right), _cut(bottom))
    if not (inside[0] < inside[2] and inside[1] < inside[3]):  # also where a side is no number
        findings.notice(EMPTY, where)
        return None
    if any(abs(was - now) > SLACK for was, now in zip(box, inside, strict=True)):
        findings.notice(CUT, where)
    return Shape(label=label, box=inside, outline=tuple((_cut(x), _cut(y)) for x, y in outline))


def around(outline: Corners) -> tuple[float, float, float, float]:
    """The box of an outline."""
    xs, ys = [x for x, _ in outline], [y for _, y in outline]
    return min(xs), min(ys), max(xs), max(ys)


def _cut(value: float) -> float:
    return min(1.0, max(0.0, value))
