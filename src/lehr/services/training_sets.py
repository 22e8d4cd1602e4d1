"""What a training learns from, as it was when the training began: kept, so that every attempt reads the same.

People go on labelling while a training runs. Without this, one new label and one restart would cost all earlier epochs,
and a version could not say what it was trained on.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from lehr.learn.items import Box, Item

FORMAT = 1
Read = Callable[[str], bytes]
"""From a content's SHA-256 to its bytes."""


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """Concepts, in the order of the model's outputs, and items."""

    concept_ids: tuple[str, ...]
    items: tuple[Item, ...]


def packed(training_set: TrainingSet) -> bytes:
    """One blob: compressed JSON. The same set gives the same bytes."""
    sheet = {
        "format": FORMAT,
        "concepts": training_set.concept_ids,
        "items": [_facts(item) for item in training_set.items],
    }
    return gzip.compress(json.dumps(sheet, separators=(",", ":")).encode(), mtime=0)


def unpacked(data: bytes, read: Read) -> TrainingSet:
    """The inverse of `packed`; `read` fetches contents."""
    sheet = json.loads(gzip.decompress(data))
    assert sheet["format"] == FORMAT, f"a training set of format {sheet['format']}"
    items = tuple(_item(facts, read) for facts in sheet["items"])
    return TrainingSet(concept_ids=tuple(sheet["concepts"]), items=items)


def _facts(item: Item) -> dict[str, Any]:
    """Everything but the way to the bytes; what is empty is left out."""
    facts = {
        "id": item.id,
        "sha256": item.sha256,
        "positives": sorted(item.positives),
        "negatives": sorted(item.negatives),
        "split": item.split,
        "boxes": [asdict(box) for box in item.boxes],
    }
    return {name: value for name, value in facts.items() if value}


def _item(facts: dict[str, Any], read: Read) -> Item:
    sha = facts["sha256"]
    return Item(
        id=facts["id"],
        sha256=sha,
        read=lambda: read(sha),
        positives=frozenset(facts.get("positives", ())),
        negatives=frozenset(facts.get("negatives", ())),
        split=facts.get("split", ""),
        boxes=tuple(Box(**box) for box in facts.get("boxes", ())),
    )
