"""What is trained on: items with their concepts, and what is worth knowing about a set of them before training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lehr.errors import NoPositives, NoTrainingData, SingleClass, TrainingStopped
from lehr.learn.data.order import DataOrder


@dataclass(frozen=True, kw_only=True)
class Box:
    """Where a concept is seen in a picture; sides are fractions of its height and width, as annotated."""

    concept: str
    top: float
    left: float
    bottom: float
    right: float


@dataclass(frozen=True, kw_only=True)
class OfVideo:
    """Which frame of which video a picture is: the one on screen at `time_ms`, or where that is 0, of this number."""

    sha256: str
    """Of the video's bytes."""
    time_ms: int
    number: int = 0


@dataclass(frozen=True, kw_only=True)
class Item:
    """One picture and what is said about it."""

    id: str
    sha256: str
    """Of the bytes (of a frame: of its video and moment), hexadecimal: pictures are packed and split by it."""
    read: Callable[[], bytes] = field(repr=False, compare=False)
    """Fetches the bytes."""
    positives: frozenset[str]
    """Ids of the concepts that are true of it."""
    negatives: frozenset[str] = frozenset()
    """Ids of the concepts that were said to be false of it."""
    split: str = ""
    """"train", "test", or "" where nobody said."""
    boxes: tuple[Box, ...] = ()
    """What a detector learns; others leave them alone."""
    of_video: OfVideo | None = None
    """Where the picture is a frame of a video."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something worth knowing before the training is over."""

    kind: str
    """"unreadable", "no_positives", "few_positives", "imbalance", "background", "without_concept", "near_duplicates",
    "unseen", "no_held_out", "small_pictures", "copies_on_both_sides", "videos_on_both_sides"; of boxes: "bad_boxes",
    "no_boxes", "tiny_boxes"."""
    text: str
    """The sentence for the person."""
    concepts: tuple[str, ...] = ()
    item_ids: tuple[str, ...] = ()


FEW_POSITIVES = 10
"""Below this many positives a concept is not expected to be learned well."""

IMBALANCE = 20.0
"""From this ratio between the most and the least frequent concept on, balanced sampling is suggested."""


def chosen(order: DataOrder, items: Sequence[Item]) -> tuple[Item, ...]:
    """The items that take part: with a closed environment only those that carry one of the order's concepts.

    Softmax needs one positive concept per item, so the others are left out there in any case.
    Raises NoTrainingData, NoPositives, SingleClass, or TrainingStopped (several concepts per item under softmax).
    """
    concepts = set(order.concepts)
    if not items:
        raise NoTrainingData("There are no items to train on: add inputs with concepts, or choose another dataset.")
    if order.exclusive and len(concepts) < 2:
        raise SingleClass(one_concept_alone(order.concepts[0], is_by_angles=order.is_by_angles))
    positive = [item for item in items if item.positives & concepts]
    if not positive:
        raise NoPositives(_no_positives(order, items))
    if order.exclusive:
        _check_exclusive(order, positive)
        return tuple(positive)
    return tuple(_in_environment(order, items))


def findings_of_choice(order: DataOrder, items: Sequence[Item]) -> list[Finding]:
    """What is to be said of items that `chosen` leaves out although the environment has them."""
    concepts = set(order.concepts)
    out = [item.id for item in _in_environment(order, items) if order.exclusive and not item.positives & concepts]
    if not out:
        return []
    text = (
        f"{_listed(out)} without any of the model's concepts {'is' if len(out) == 1 else 'are'} left out: "
        f"{_why_one(order)} each must carry one. {_instead(order, 'they train as background')}"
    )
    return [Finding(kind="without_concept", text=text, item_ids=tuple(out))]


def one_concept_alone(concept: str, *, is_by_angles: bool) -> str:
    """The sentence for a training that tells concepts apart, and has but one."""
    if is_by_angles:
        return (
            f"Learning by angles tells concepts apart, and {concept!r} is the only one: add a second concept, or "
            "choose an embedder that learns as a classifier and has logreg, such as Clarifai_ResNext."
        )
    return (
        f"With logreg 0 (softmax) one concept alone ({concept!r}) is always certain: add a second concept, or set "
        "logreg to 1."
    )


def _in_environment(order: DataOrder, items: Sequence[Item]) -> Sequence[Item]:
    """All items, or in a closed environment those of which one of the concepts is known to be true or false."""
    concepts = set(order.concepts)
    return [item for item in items if not order.closed_environment or (item.positives | item.negatives) & concepts]


def _check_exclusive(order: DataOrder, items: Sequence[Item]) -> None:
    concepts = set(order.concepts)
    several = [item.id for item in items if len(item.positives & concepts) > 1]
    if several:
        raise TrainingStopped(
            f"{_listed(several)} carry more than one of the model's concepts, but {_why_one(order)} exactly one can be "
            f"true. Correct these items. {_instead(order, 'several may be true')}"
        )


def _listed(ids: Sequence[str]) -> str:
    """ "7 items (a, b, c, d, e, …)"."""
    return f"{len(ids)} item{'s' * (len(ids) > 1)} ({', '.join(ids[:5])}{', …' * (len(ids) > 5)})"


def _why_one(order: DataOrder) -> str:
    return "in learning by angles" if order.is_by_angles else "with logreg 0 (softmax)"


def _instead(order: DataOrder, what: str) -> str:
    if order.is_by_angles:
        return f"With an embedder that learns as a classifier, such as Clarifai_ResNext with logreg 1, {what}."
    return f"With logreg 1 {what}."


def _no_positives(order: DataOrder, items: Sequence[Item]) -> str:
    concepts = set(order.concepts)
    refused = [item for item in items if item.negatives & concepts]
    named = ", ".join(repr(concept) for concept in order.concepts[:5]) + (", …" if len(order.concepts) > 5 else "")
    if refused:
        return (
            f"{len(refused)} of {len(items)} items name the model's concepts ({named}), but every one with the "
            "value 0, which says that the concept is absent. Over gRPC an unset value is 0: send value 1 for what is "
            "present."
        )
    present = sorted({concept for item in items for concept in item.positives})
    found = (
        f"they carry: {', '.join(present[:10])}{', …' * (len(present) > 10)}" if present else "they carry no concept"
    )
    return (
        f"None of {len(items)} items carries one of the model's concepts ({named}); {found}. "
        "Annotate some with value 1."
    )


def findings_of_counts(
    order: DataOrder, positives: Sequence[int], num_background: int, unseen: Sequence[str] = ()
) -> list[Finding]:
    """What the numbers of positives per concept say. `positives` counts training items, in the order's order.

    Concepts that are `unseen` on purpose have no positive there and are not spoken of.
    """
    told = zip(order.concepts, positives, strict=True)
    counts = {concept: count for concept, count in told if concept not in set(unseen)}
    none = [concept for concept, count in counts.items() if count == 0]
    few = [concept for concept, count in counts.items() if 0 < count < FEW_POSITIVES]
    findings = []
    if none:
        findings.append(_finding("no_positives", none, "have no positive example and will be predicted near 0", counts))
    if few:
        findings.append(
            _finding("few_positives", few, f"have fewer than {FEW_POSITIVES} positive examples: expect little", counts)
        )
    present = [count for count in counts.values() if count]
    if present and max(present) >= IMBALANCE * min(present):
        text = (
            f"The most frequent concept has {max(present)} positives, the least frequent {min(present)}: "
            "balanced_sampling may help the rare ones."
        )
        findings.append(Finding(kind="imbalance", text=text))
    if num_background:
        text = f"{num_background} items without any of the model's concepts train too, as background."
        findings.append(Finding(kind="background", text=text))
    return findings


def _finding(kind: str, concepts: Sequence[str], words: str, counts: dict[str, int]) -> Finding:
    named = ", ".join(f"{concept} ({counts[concept]})" for concept in concepts[:10])
    more = f" and {len(concepts) - 10} more" if len(concepts) > 10 else ""
    subject = "concept" if len(concepts) == 1 else "concepts"
    return Finding(kind=kind, text=f"{len(concepts)} {subject} {words}: {named}{more}.", concepts=tuple(concepts))
