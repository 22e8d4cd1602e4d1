"""How well an embedder brings like pictures together, of concepts that it learned and of concepts that it never saw.

Plain figures, no torch; they are computed by retrieval.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

KIND = "embedding"


@dataclass(frozen=True, kw_only=True)
class Found:
    """Each picture asks for its like among the others, by cosine; means over the pictures that have any."""

    num_queries: int
    num_concepts: int
    recall_at_1: float
    """Share of pictures whose nearest neighbour is of their concept: the accuracy of the nearest neighbour."""
    recall_at_5: float
    recall_at_10: float
    map_at_r: float
    """Mean average precision at R (arXiv 2003.08505)."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingEvaluation:
    """Figures on the held-out items."""

    num_items: int
    num_dimensions: int
    known: Found | None
    """Held-out pictures of concepts that were trained on; None where no concept has two of them."""
    unseen: Found | None
    """All pictures of concepts that were kept out of the training; None where there are none."""
    unseen_concepts: tuple[str, ...] = ()
    item_ids: tuple[str, ...] = ()
    """Of the items, in their order."""

    @property
    def best(self) -> Found | None:
        """The figures to show first: of known concepts where there are any."""
        return self.known or self.unseen

    @property
    def top1_accuracy(self) -> float | None:
        """Of classification by the nearest neighbour."""
        return self.best.recall_at_1 if self.best else None

    @property
    def rows(self) -> tuple[()]:
        """None: what a picture found depends on all the others."""
        return ()

    @property
    def thresholds(self) -> Mapping[str, float]:
        """None: an embedding has no probabilities."""
        return {}

    def summary(self) -> dict[str, Any]:
        """One line of figures."""
        parts = {"": self.known, "unseen_": self.unseen}
        figures = {
            f"{prefix}{name}": value
            for prefix, found in parts.items()
            if found
            for name, value in asdict(found).items()
        }
        return {
            "num_items": self.num_items,
            "num_dimensions": self.num_dimensions,
            "top1_accuracy": self.top1_accuracy,
        } | figures

    def to_json(self) -> dict[str, Any]:
        """As kept in evaluation.json."""
        return {"kind": KIND, **asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EmbeddingEvaluation:
        """The inverse of `to_json`."""
        return cls(
            num_items=values["num_items"],
            num_dimensions=values["num_dimensions"],
            known=Found(**values["known"]) if values["known"] else None,
            unseen=Found(**values["unseen"]) if values["unseen"] else None,
            unseen_concepts=tuple(values["unseen_concepts"]),
            item_ids=tuple(values["item_ids"]),
        )
