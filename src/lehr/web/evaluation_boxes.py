"""A detector's evaluation: the images with the most wrong in them first, what was found drawn over what is true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lehr.protocol import resources_pb2
from lehr.web import pieces, words
from lehr.web.evaluation import Opened
from lehr.web.slider import Slider
from lehr.web.thumbnails import address_of

_PER_PAGE = 24
_OVERLAP = 0.5
"""From this intersection over union on, a box counts as found."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A box over an image."""

    corners: tuple[float, float, float, float]
    """Top, left, bottom, right, as shares of the image."""
    concept: str
    value: float
    kind: str
    """right (found and true), false (found only), missed (true only)."""


async def mistakes(opened: Opened) -> None:
    """Missed and invented boxes; the least score that counts is in the address."""
    start = _number(opened.visit.query("score"), 0.3)
    with pieces.card("Boxes over the truth"):
        with pieces.element("div", "lehr-keys-of-boxes"):
            for kind, text in (("right", "found"), ("false", "found, but not there"), ("missed", "there, but missed")):
                with pieces.element("span"):
                    pieces.element("span", f"lehr-swatch lehr-over-{kind}")
                    pieces.text(text, tag="span", classes="lehr-small lehr-quiet")
        pieces.text("Least score of a box that counts", classes="lehr-small lehr-quiet")
        slider = Slider("Least score of a box that counts", limits=(0.05, 0.95), step=0.05, value=start)
        shown = pieces.Redrawn(lambda _: _wall(opened, slider.value))

    def change(least: float) -> None:
        opened.visit.remember(score=f"{least:.2f}")
        shown.draw()

    slider.on_done(change)


def _number(text: str, otherwise: float) -> float:
    try:
        return min(0.95, max(0.05, float(text)))
    except ValueError:
        return otherwise


def _wall(opened: Opened, least: float) -> None:
    found = [(entry, compared(entry, least)) for entry in opened.metrics.test_set]
    found.sort(key=lambda pair: -wrongness(pair[1]))
    wrong = sum(wrongness(boxes) > 0 for _, boxes in found)
    missed = sum(box.kind == "missed" for _, boxes in found for box in boxes)
    false = sum(box.kind == "false" for _, boxes in found for box in boxes)
    text = f"{wrong} of {words.counted(len(found), 'image')} have mistakes: {_boxes(missed)} missed, {false} invented."
    pieces.text(text, classes="lehr-quiet").props("role=status")
    with pieces.element("div", "lehr-wall lehr-wall-large"):
        for entry, boxes in found[:_PER_PAGE]:
            _overlaid(opened, entry, boxes)
    if len(found) > _PER_PAGE:
        pieces.text(
            f"The first {_PER_PAGE} of {words.count(len(found))}, the worst first.", classes="lehr-quiet lehr-small"
        )


def _boxes(count: int) -> str:
    return "1 box" if count == 1 else f"{words.count(count)} boxes"


def wrongness(boxes: Sequence[Drawn]) -> float:
    """A missed box counts 1, an invented one its score."""
    return sum(1.0 if box.kind == "missed" else box.value for box in boxes if box.kind != "right")


def compared(entry: resources_pb2.EvalTestSetEntry, least: float) -> list[Drawn]:
    """What was found beside what is true: each true box takes the best found one of its concept that lies over it."""
    truth = [_read(region) for region in entry.ground_truth_annotation.data.regions]
    found = sorted((_read(region) for region in entry.predicted_annotation.data.regions), key=lambda box: -box.value)
    found = [box for box in found if box.value >= least]
    free = list(truth)
    drawn = []
    for box in found:
        near = [each for each in free if each.concept == box.concept and overlap(each.corners, box.corners) >= _OVERLAP]
        if near:
            free.remove(max(near, key=lambda each: overlap(each.corners, box.corners)))
        kind = "right" if near else "false"
        drawn.append(Drawn(corners=box.corners, concept=box.concept, value=box.value, kind=kind))
    return drawn + [Drawn(corners=each.corners, concept=each.concept, value=1, kind="missed") for each in free]


def overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """Intersection over union."""
    high = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    wide = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = sum((each[2] - each[0]) * (each[3] - each[1]) for each in (one, other))
    return high * wide / (areas - high * wide) if areas > high * wide else 0.0


def _read(region: resources_pb2.Region) -> Drawn:
    box = region.region_info.bounding_box
    concept = region.data.concepts[0] if region.data.concepts else resources_pb2.Concept()
    corners = (box.top_row, box.left_col, box.bottom_row, box.right_col)
    return Drawn(corners=corners, concept=concept.name or concept.id, value=region.value or concept.value, kind="")


def _overlaid(opened: Opened, entry: resources_pb2.EvalTestSetEntry, boxes: Sequence[Drawn]) -> None:
    kinds = [f"{box.concept} {box.kind}" for box in boxes]
    with pieces.link(opened.visit.under_app("inputs", entry.input.id), classes="lehr-over") as anchor:
        anchor.props["aria-label"] = f"Input {entry.input.id}: {', '.join(kinds) or 'no boxes'}"
        with pieces.element("div", "lehr-over-picture"):
            address = address_of(entry.input)
            if address:
                pieces.element("img", src=address, alt="", loading="lazy")
            for box in boxes:
                top, left, bottom, right = (100 * side for side in box.corners)
                with pieces.element("div", f"lehr-over-box lehr-over-{box.kind}") as made:
                    made.style(f"top:{top:.2f}%;left:{left:.2f}%;height:{bottom - top:.2f}%;width:{right - left:.2f}%")
                    if box.kind != "missed":
                        pieces.text(f"{box.concept} {box.value:.2f}", tag="span")
                    else:
                        pieces.text(box.concept, tag="span")
