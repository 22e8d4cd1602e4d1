"""An evaluation as a page reads it: its concepts, and its items with what was said, what is true, and their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lehr.protocol import resources_pb2
from lehr.protocol.structs import from_value
from lehr.services.eval_metrics import FIGURES
from lehr.web import pieces
from lehr.web.page import Visit
from lehr.web.thumbnails import address_of

THRESHOLD = 0.5


@dataclass(frozen=True, kw_only=True)
class Opened:
    """One evaluation with the parts that a page asked for."""

    visit: Visit
    metrics: resources_pb2.EvalMetrics
    kind: str
    """classifier, detector or embedder."""

    def own_figures(self) -> dict[str, Any]:
        """The figures that the protocol has no field for."""
        found = self.metrics.extended_metrics.user_metrics.fields
        known = from_value(found[FIGURES]) if FIGURES in found else {}
        return (
            {name: value for name, value in known.items() if isinstance(value, float)}
            if isinstance(known, dict)
            else {}
        )

    def names(self) -> dict[str, str]:
        """Concept id → name, of all that the items mention."""
        return {
            concept.id: concept.name or concept.id
            for entry in self.metrics.test_set
            for concept in [*entry.predicted_concepts, *entry.ground_truth_concepts]
        }


def is_exclusive(opened: Opened) -> bool:
    """Whether every item carries exactly one concept: then the most probable one is the answer."""
    return all(len(entry.ground_truth_concepts) == 1 for entry in opened.metrics.test_set)


def said_of(entry: resources_pb2.EvalTestSetEntry, *, exclusive: bool) -> set[str]:
    """What was predicted of an item."""
    if exclusive:
        return {entry.predicted_concepts[0].id} if entry.predicted_concepts else set()
    return {concept.id for concept in entry.predicted_concepts if concept.value >= THRESHOLD}


def truth_of(entry: resources_pb2.EvalTestSetEntry) -> set[str]:
    """What is true of it."""
    return {concept.id for concept in entry.ground_truth_concepts}


def picture(visit: Visit, entry: resources_pb2.EvalTestSetEntry, caption: Sequence[str], *, kind: str = "") -> None:
    """An item's image with words below, leading to the input."""
    with pieces.link(visit.under_app("inputs", entry.input.id), classes=f"lehr-shown {kind}") as anchor:
        anchor.props["aria-label"] = f"Input {entry.input.id}: {'; '.join(caption)}"
        address = address_of(entry.input)
        if address:
            pieces.element("img", src=address, alt="", loading="lazy")
        else:
            pieces.icon("image_not_supported")
        for number, line in enumerate(caption):
            pieces.text(line, tag="span", classes="lehr-small lehr-wrap" + (" lehr-quiet" if number else ""))
