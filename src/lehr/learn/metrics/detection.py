"""Everything measured of a detector on held-out items, with the concepts' names; kept as JSON. Numpy only.

The figures are made by mean_average_precision.py. Areas are in pixels of the pictures as they were sent, as in COCO;
where a pack of before native sizes were kept does not know these, of the picture as the network saw it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lehr.learn.metrics.classification import Curve
from lehr.learn.metrics.mean_average_precision import (
    AREAS,
    Area,
    BoxMetrics,
    DetectionEvaluation,
    ImageBoxes,
    detection_evaluation,
)

KIND = "detections"
"""Tells this kind of evaluation.json from a classifier's."""


@dataclass(frozen=True, kw_only=True)
class NamedBox:
    """A concept's box as the API has it: fractions of the picture's height and width; `value` 1 where it was drawn."""

    concept: str
    value: float
    top: float
    left: float
    bottom: float
    right: float


@dataclass(frozen=True, kw_only=True)
class DetectionRow:
    """One held-out item."""

    item_id: str
    truth: tuple[NamedBox, ...]
    found: tuple[NamedBox, ...]
    """Best first, scores above 0.05."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One item's drawn and found boxes, in pixels of a picture of this height and width: the original's, if known."""

    item_id: str
    size: tuple[int, int]
    truth: ImageBoxes
    found: ImageBoxes


@dataclass(frozen=True, kw_only=True)
class DetectorEvaluation:
    """Mean average precision as COCO has it, by concept, overlap and area, and every held-out item's boxes."""

    concepts: tuple[str, ...]
    figures: DetectionEvaluation
    rows: tuple[DetectionRow, ...]

    @property
    def item_ids(self) -> tuple[str, ...]:
        """Of the held-out items, in their order."""
        return tuple(row.item_id for row in self.rows)

    @property
    def num_items(self) -> int:
        """Held-out items."""
        return len(self.rows)

    @property
    def map_50(self) -> float | None:
        """Mean average precision at overlap 0.5; None without a drawn box."""
        return self.figures.map_50

    @property
    def map_range(self) -> float | None:
        """Mean average precision over the overlaps 0.50 to 0.95."""
        return self.figures.map_range

    @property
    def at_half(self) -> tuple[BoxMetrics, ...]:
        """Of every concept, in their order: at overlap 0.5, over all areas."""
        return tuple(entry for entry in self.figures.entries if entry.overlap == 0.5 and entry.area.name == "all")

    @property
    def thresholds(self) -> dict[str, float]:
        """Per concept the score at which F1 is largest, at overlap 0.5."""
        return {self.concepts[entry.class_index]: entry.best_threshold for entry in self.at_half}

    @property
    def label_counts(self) -> dict[str, int]:
        """Held-out boxes per concept."""
        return {self.concepts[entry.class_index]: entry.num_true for entry in self.at_half}

    def summary(self) -> dict[str, float | int | None]:
        """The figures that fit on one line; precision, recall and F1 at score 0.5 and overlap 0.5."""
        seen = [entry for entry in self.at_half if entry.num_true]
        macro = {
            f"macro_{name}": float(np.mean([getattr(entry, name) for entry in seen])) if seen else None
            for name in ("f1", "precision", "recall")
        }
        areas = {f"map_{area.name}": self.figures.mean_ap(area=area.name) for area in AREAS[1:]}
        return {"num_items": self.num_items, "map_50": self.map_50, "map_range": self.map_range, **areas, **macro}

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {"kind": KIND, **asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DetectorEvaluation:
        """The inverse of `to_json`."""
        entries = tuple(_entry(entry) for entry in values["figures"]["entries"])
        return cls(
            concepts=tuple(values["concepts"]),
            figures=DetectionEvaluation(num_images=values["figures"]["num_images"], entries=entries),
            rows=tuple(
                DetectionRow(
                    item_id=row["item_id"],
                    truth=tuple(NamedBox(**box) for box in row["truth"]),
                    found=tuple(NamedBox(**box) for box in row["found"]),
                )
                for row in values["rows"]
            ),
        )


def detector_evaluation(concepts: Sequence[str], measured: Sequence[Measured]) -> DetectorEvaluation:
    """All figures from what was drawn and what was found."""
    figures = detection_evaluation([one.found for one in measured], [one.truth for one in measured], len(concepts))
    rows = tuple(
        DetectionRow(
            item_id=one.item_id,
            truth=_named(one.truth, one.size, concepts),
            found=_named(one.found, one.size, concepts),
        )
        for one in measured
    )
    return DetectorEvaluation(concepts=tuple(concepts), figures=figures, rows=rows)


def _named(image: ImageBoxes, size: tuple[int, int], concepts: Sequence[str]) -> tuple[NamedBox, ...]:
    height, width = size
    scores = np.ones(len(image.classes)) if image.scores is None else image.scores
    return tuple(
        NamedBox(
            concept=concepts[int(label)],
            value=float(score),
            top=float(y1) / height,
            left=float(x1) / width,
            bottom=float(y2) / height,
            right=float(x2) / width,
        )
        for (x1, y1, x2, y2), label, score in zip(image.boxes, image.classes, scores, strict=True)
    )


def _entry(values: Mapping[str, Any]) -> BoxMetrics:
    curve = Curve(**{name: tuple(points) for name, points in values["curve"].items()})
    return BoxMetrics(**{**values, "area": Area(**values["area"]), "curve": curve})
