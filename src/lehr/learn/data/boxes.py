"""The boxes of a training set: cleaned, counted, and what is worth knowing about them. Numpy only.

Shapes: G boxes of one item. Fractions are top, left, bottom, right of the picture's height and width, as in the API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lehr.errors import NoPositives, NoTrainingData
from lehr.learn.data.order import DataOrder
from lehr.learn.items import Box, Finding, Item

SLACK = 0.02
"""A box may reach this far over the border, which annotation tools do; it is cut off without a word."""
TINY_PIXELS = 6.0
"""Boxes with a shorter side than this, after resizing, are hardly ever found: the finest map has cells of 8 pixels."""
TINY_SHARE = 0.1
"""From this share of tiny boxes on it is worth a warning."""


@dataclass(frozen=True, kw_only=True)
class ItemBoxes:
    """One item's boxes of the model's concepts."""

    fractions: np.ndarray
    """float32 [G, 4]: top, left, bottom, right, within 0 … 1."""
    classes: np.ndarray
    """int64 [G]: indices of the order's concepts."""

    def pixels(self, height: int, width: int) -> np.ndarray:
        """float32 [G, 4] x1 y1 x2 y2 of a picture of this size."""
        return self.fractions[:, [1, 0, 3, 2]] * np.array([width, height, width, height], np.float32)


@dataclass(frozen=True, kw_only=True)
class Boxed:
    """The items that a detector trains on, cleaned: `positives` are the concepts of their boxes."""

    items: tuple[Item, ...]
    findings: tuple[Finding, ...]


def boxed(order: DataOrder, items: Sequence[Item]) -> Boxed:
    """Chooses the items that take part. Items without any box train as background, unless the environment is closed.

    Left out, with a finding: boxes that are degenerate or outside of their picture, and items all of whose boxes are
    (as background they would teach that nothing is there); items that carry a concept of the model for the whole
    picture but no box, whose objects nobody has marked.
    Raises NoTrainingData without items, NoPositives when no box of the order's concepts is left.
    """
    if not items:
        raise NoTrainingData("There are no items to train on: add inputs with boxes, or choose another dataset.")
    concepts = set(order.concepts)
    cleaned = [_cleaned(item, concepts) for item in items]
    bare = [(item, whole) for item, whole in zip(cleaned, items, strict=True) if not item.boxes]
    spoilt = [item for item, whole in bare if any(box.concept in concepts for box in whole.boxes)]
    unmarked = [item for item, whole in bare if not whole.boxes and whole.positives & concepts]
    left_out = {id(item) for item in (*spoilt, *unmarked)}
    taking_part = tuple(
        item for item in cleaned if id(item) not in left_out and (item.boxes or not order.closed_environment)
    )
    if not any(item.boxes for item in taking_part):
        raise NoPositives(_no_boxes(order, items))
    found = (_bad_boxes(items, len(spoilt), concepts), _unmarked(unmarked))
    return Boxed(items=taking_part, findings=tuple(finding for finding in found if finding))


def boxes_of(order: DataOrder, item: Item) -> ItemBoxes:
    """An item's boxes as arrays, in their own order."""
    index = {concept: number for number, concept in enumerate(order.concepts)}
    boxes = [box for box in item.boxes if box.concept in index]
    fractions = np.array([(box.top, box.left, box.bottom, box.right) for box in boxes], np.float32).reshape(-1, 4)
    return ItemBoxes(fractions=fractions, classes=np.array([index[box.concept] for box in boxes], np.int64))


def tiny_boxes(boxes: Sequence[ItemBoxes], sizes: Sequence[tuple[int, int]], image_size: int) -> Finding | None:
    """What to say when many boxes are too small to be found at this image size. `sizes`: framed (height, width)."""
    sides = [
        (box[:, 2:] - box[:, :2]).min(1) for box in (one.pixels(*size) for one, size in zip(boxes, sizes, strict=True))
    ]
    shorter = np.concatenate(sides) if sides else np.zeros(0)
    count = int((shorter < TINY_PIXELS).sum())
    if count < max(1.0, TINY_SHARE * len(shorter)):
        return None
    wanted = 32 * int(np.ceil(image_size * 2 * TINY_PIXELS / max(float(np.median(shorter)), 1.0) / 32))
    advice = f"image_size {wanted} would help" if image_size < wanted <= 1024 else "cut the pictures into tiles"
    return Finding(
        kind="tiny_boxes",
        text=f"{count} of {len(shorter)} boxes have a side under {TINY_PIXELS:g} pixels at image_size {image_size}: "
        f"they will hardly be found; {advice}.",
    )


def box_counts(boxes: Sequence[ItemBoxes], num_concepts: int) -> list[int]:
    """Boxes of every concept."""
    classes = np.concatenate([one.classes for one in boxes]) if boxes else np.zeros(0, np.int64)
    return np.bincount(classes, minlength=num_concepts).tolist()


def _cleaned(item: Item, concepts: set[str]) -> Item:
    """With its good boxes of the given concepts alone, cut off at the border."""
    good = tuple(_clipped(box) for box in item.boxes if box.concept in concepts and not _is_bad(box))
    return replace(item, boxes=good, positives=frozenset(box.concept for box in good), negatives=frozenset())


def _clipped(box: Box) -> Box:
    sides = {name: min(max(getattr(box, name), 0.0), 1.0) for name in ("top", "left", "bottom", "right")}
    return replace(box, **sides)


def _is_bad(box: Box) -> bool:
    """Not a number, empty, or over the border by more than a little."""
    values = np.array([box.top, box.left, box.bottom, box.right])
    if not np.isfinite(values).all() or (values < -SLACK).any() or (values > 1 + SLACK).any():
        return True
    cut = _clipped(box)
    return cut.bottom <= cut.top or cut.right <= cut.left


def _bad_boxes(items: Sequence[Item], num_spoilt: int, concepts: set[str]) -> Finding | None:
    """`num_spoilt`: items that have no good box beside their bad ones."""
    bad: Mapping[str, list[Box]] = {
        item.id: wrong for item in items if (wrong := [b for b in item.boxes if b.concept in concepts and _is_bad(b)])
    }
    if not bad:
        return None
    count, (first_id, boxes) = sum(map(len, bad.values())), next(iter(bad.items()))
    one = boxes[0]
    text = (
        f"{count} boxes in {len(bad)} items are empty or outside of their picture and are left out"
        f"{f', and with them {num_spoilt} items that have no good one' * bool(num_spoilt)}; the first is in "
        f"{first_id}: top {one.top:g}, left {one.left:g}, bottom {one.bottom:g}, right {one.right:g}. Sides are "
        "fractions from 0 to 1 of the picture's height and width, top less than bottom, left less than right."
    )
    return Finding(kind="bad_boxes", text=text, item_ids=tuple(bad))


def _unmarked(items: Sequence[Item]) -> Finding | None:
    if not items:
        return None
    ids = tuple(item.id for item in items)
    text = (
        f"{len(items)} items carry a concept of the model for the whole picture but no box, and are left out "
        f"({', '.join(ids[:5])}{', …' * (len(ids) > 5)}): mark their objects with boxes."
    )
    return Finding(kind="no_boxes", text=text, item_ids=ids)


def _no_boxes(order: DataOrder, items: Sequence[Item]) -> str:
    named = ", ".join(repr(concept) for concept in order.concepts[:5]) + (", …" if len(order.concepts) > 5 else "")
    present = sorted({box.concept for item in items for box in item.boxes})
    whole = sum(bool(item.positives & set(order.concepts)) for item in items)
    if present:
        found = f"their boxes are of: {', '.join(present[:10])}{', …' * (len(present) > 10)}"
    else:
        found = "they have no boxes at all" + (f" ({whole} carry a concept for the whole picture)" if whole else "")
    return (
        f"None of {len(items)} items has a good box of one of the model's concepts ({named}); {found}. "
        "Annotate regions: region_info.bounding_box, and in the region's data.concepts the concept with value 1."
    )
