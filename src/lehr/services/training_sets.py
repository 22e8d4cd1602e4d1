"""What a training learns from, as it was when the training began: kept, so that every attempt reads the same.

People go on labelling while a training runs. Without this, one new label and one restart would cost all earlier epochs,
and a version could not say what it was trained on.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import asdict, dataclass
from typing import Any

from lehr.learn.items import Box, Item, OfVideo
from lehr.services.training_contents import Contents

FORMAT = 1


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


def unpacked(data: bytes, contents: Contents) -> TrainingSet:
    """The inverse of `packed`."""
    sheet = json.loads(gzip.decompress(data))
    assert sheet["format"] == FORMAT, f"a training set of format {sheet['format']}"
    items = tuple(_item(facts, contents) for facts in sheet["items"])
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
        "of_video": asdict(item.of_video) if item.of_video else None,
    }
    return {name: value for name, value in facts.items() if value}


def _item(facts: dict[str, Any], contents: Contents) -> Item:
    of_video = OfVideo(**facts["of_video"]) if "of_video" in facts else None
    return Item(
        id=facts["id"],
        sha256=facts["sha256"],
        read=contents.frame(of_video) if of_video else contents.picture(facts["sha256"]),
        positives=frozenset(facts.get("positives", ())),
        negatives=frozenset(facts.get("negatives", ())),
        split=facts.get("split", ""),
        boxes=tuple(Box(**box) for box in facts.get("boxes", ())),
        of_video=of_video,
    )
