"""What a data set's items say about it before anything is trained on them. Decides only; reads and stores nothing."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from lehr.learn.data.boxes import TINY_PIXELS
from lehr.learn.data.early_warnings import enlarged
from lehr.learn.items import FEW_POSITIVES, IMBALANCE, Box

MAX_IDS = 100
"""Items that a finding names."""
MAX_GROUPS = 40
USUAL_SIZE, USUAL_SIZE_WITHOUT_BOXES = 512, 256
"""The image_size that boxes, and pictures, are judged at: what detectors, and others, are trained with by default."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What counts of one item."""

    id: str
    width: int
    height: int
    positives: frozenset[str]
    boxes: tuple[Box, ...]
    group: int
    """Equal numbers are near-duplicates of one another."""


@dataclass(frozen=True, kw_only=True)
class ConceptCount:
    """How often a concept is said to be there."""

    id: str
    num_items: int
    num_boxes: int


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something worth looking at, with the items behind it."""

    kind: str
    """unreadable, unlabelled, one_concept, few_positives, imbalance, near_duplicates, contradictions, bad_boxes,
    tiny_boxes, small_pictures."""
    level: str
    """bad: a training would fail or learn the wrong thing; warn: it would learn less well."""
    text: str
    item_ids: tuple[str, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    """For near-duplicates: the items of each group."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """All of it."""

    num_items: int
    num_labelled: int
    num_boxes: int
    concepts: tuple[ConceptCount, ...]
    findings: tuple[Finding, ...]

    def to_json(self) -> str:
        """As it is stored."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Back again."""
        told = json.loads(text)
        findings = [
            Finding(
                **{**each, "item_ids": tuple(each["item_ids"]), "groups": tuple(tuple(one) for one in each["groups"])}
            )
            for each in told["findings"]
        ]
        concepts = tuple(ConceptCount(**each) for each in told["concepts"])
        return cls(**{**told, "concepts": concepts, "findings": tuple(findings)})


def report_of(items: Sequence[Facts], unreadable: Mapping[str, str]) -> Report:
    """The report on readable `items`; `unreadable`: id → why of the others."""
    concepts = _counted(items)
    found = (
        _unreadable(unreadable),
        _unlabelled(items),
        _one_concept(items, concepts),
        _few(concepts),
        _imbalance(concepts),
        _contradictions(items),
        _near_duplicates(items),
        _bad_boxes(items),
        _tiny_boxes(items),
        _small_pictures(items),
    )
    return Report(
        num_items=len(items),
        num_labelled=sum(1 for item in items if item.positives or item.boxes),
        num_boxes=sum(len(item.boxes) for item in items),
        concepts=concepts,
        findings=tuple(finding for finding in found if finding is not None),
    )


def _counted(items: Iterable[Facts]) -> tuple[ConceptCount, ...]:
    in_items: Counter[str] = Counter()
    in_boxes: Counter[str] = Counter()
    for item in items:
        in_items.update(item.positives | {box.concept for box in item.boxes})
        in_boxes.update(box.concept for box in item.boxes)
    ordered = sorted(in_items.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(ConceptCount(id=id_, num_items=number, num_boxes=in_boxes[id_]) for id_, number in ordered)


def _unreadable(unreadable: Mapping[str, str]) -> Finding | None:
    if not unreadable:
        return None
    first = next(iter(unreadable.items()))
    text = f"{_items(len(unreadable))} cannot be read, for example {first[0]}: {first[1]} Delete or replace them."
    return Finding(kind="unreadable", level="bad", text=text, item_ids=_first(unreadable))


def _unlabelled(items: Sequence[Facts]) -> Finding | None:
    bare = [item.id for item in items if not item.positives and not item.boxes]
    if not bare:
        return None
    text = f"{_items(len(bare))} of {len(items):,} have no label and no box: they are left out, or count as background."
    return Finding(kind="unlabelled", level="warn", text=text, item_ids=_first(bare))


def _one_concept(items: Sequence[Facts], concepts: Sequence[ConceptCount]) -> Finding | None:
    if not items:
        return Finding(kind="unlabelled", level="bad", text="There is nothing in this dataset yet: add inputs.")
    if len(concepts) >= 2:
        return None
    said = f"only {concepts[0].id!r} is" if concepts else "nothing is"
    text = f"A classifier tells concepts apart, and {said} labelled here: label at least two, or train a detector."
    return Finding(kind="one_concept", level="warn" if concepts else "bad", text=text)


def _few(concepts: Sequence[ConceptCount]) -> Finding | None:
    few = [each for each in concepts if each.num_items < FEW_POSITIVES]
    if not few:
        return None
    named = ", ".join(f"{each.id} ({each.num_items})" for each in few[:8]) + (", …" if len(few) > 8 else "")
    text = f"Under {FEW_POSITIVES} examples a concept is hardly learned: {named}. Add and label more of them."
    return Finding(kind="few_positives", level="warn", text=text)


def _imbalance(concepts: Sequence[ConceptCount]) -> Finding | None:
    if len(concepts) < 2 or concepts[0].num_items < IMBALANCE * concepts[-1].num_items:
        return None
    most, least = concepts[0], concepts[-1]
    text = (
        f"{most.id} is there {most.num_items / least.num_items:.0f} times as often as {least.id}: "
        "add more of the rare ones, or switch on balanced sampling."
    )
    return Finding(kind="imbalance", level="warn", text=text)


def _grouped(items: Sequence[Facts]) -> list[list[Facts]]:
    members: dict[int, list[Facts]] = defaultdict(list)
    for item in items:
        members[item.group].append(item)
    return [group for group in members.values() if len(group) > 1]


def _near_duplicates(items: Sequence[Facts]) -> Finding | None:
    groups = _grouped(items)
    if not groups:
        return None
    extra = sum(len(group) - 1 for group in groups)
    text = (
        f"{_items(extra)} look nearly like another one. They stay together when some are held out, "
        "so that results are honest, but they teach little."
    )
    return _with_groups(Finding(kind="near_duplicates", level="warn", text=text), groups)


def _contradictions(items: Sequence[Facts]) -> Finding | None:
    groups = [group for group in _grouped(items) if len({_said(item) for item in group}) > 1]
    if not groups:
        return None
    number = f"{len(groups):,} pictures are" if len(groups) > 1 else "One picture is"
    text = f"{number} there more than once with different labels: one of them is probably wrong."
    return _with_groups(Finding(kind="contradictions", level="bad", text=text), groups)


def _said(item: Facts) -> frozenset[str]:
    return item.positives | {box.concept for box in item.boxes}


def _with_groups(finding: Finding, groups: Sequence[Sequence[Facts]]) -> Finding:
    named = tuple(tuple(item.id for item in group[:12]) for group in groups[:MAX_GROUPS])
    ids = _first(each for group in named for each in group)
    return Finding(kind=finding.kind, level=finding.level, text=finding.text, item_ids=ids, groups=named)


def _bad_boxes(items: Sequence[Facts]) -> Finding | None:
    bad = [item.id for item in items if any(_is_bad(box) for box in item.boxes)]
    if not bad:
        return None
    text = f"{_items(len(bad))} have a box without an area or off the picture: such boxes are left out."
    return Finding(kind="bad_boxes", level="warn", text=text, item_ids=_first(bad))


def _is_bad(box: Box) -> bool:
    return box.bottom <= max(box.top, 0) or box.right <= max(box.left, 0) or box.top >= 1 or box.left >= 1


def _tiny_boxes(items: Sequence[Facts]) -> Finding | None:
    tiny = [item.id for item in items if any(_is_tiny(box, item) for box in item.boxes)]
    if not tiny:
        return None
    text = (
        f"{_items(len(tiny))} have a box with a side under {TINY_PIXELS:g} pixels at image_size {USUAL_SIZE}: "
        "such boxes are hardly ever found. Train with a larger image_size, or cut the pictures into tiles."
    )
    return Finding(kind="tiny_boxes", level="warn", text=text, item_ids=_first(tiny))


def _is_tiny(box: Box, item: Facts) -> bool:
    shorter = min(item.width, item.height)
    if not shorter or _is_bad(box):
        return False
    scale = USUAL_SIZE / shorter
    return min((box.bottom - box.top) * item.height, (box.right - box.left) * item.width) * scale < TINY_PIXELS


def _small_pictures(items: Sequence[Facts]) -> Finding | None:
    """Nothing where boxes are tiny: such pictures are rather enlarged."""
    size = USUAL_SIZE if any(item.boxes for item in items) else USUAL_SIZE_WITHOUT_BOXES
    shorter = {item.id: min(item.width, item.height) for item in items if item.width and item.height}
    found = enlarged(list(shorter.values()), size)
    if found is None or _tiny_boxes(items):
        return None
    ids = _first(id_ for id_, side in shorter.items() if side < size)
    text = f"{_items(found.num_pictures)} of {len(shorter):,} {found.text}"
    return Finding(kind="small_pictures", level="warn", text=text, item_ids=ids)


def _first(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(id_ for id_, _ in zip(ids, range(MAX_IDS), strict=False))


def _items(number: int) -> str:
    return f"{number:,} item{'' if number == 1 else 's'}"
