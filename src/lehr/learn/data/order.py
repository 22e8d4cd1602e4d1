"""What a training wants from its data, known before any picture is decoded."""

from __future__ import annotations

from dataclasses import dataclass

MOST_ITEMS = 10_000_000
"""Items of a training, or draws of an epoch: more is a slip of the finger, or harm meant."""


@dataclass(frozen=True, kw_only=True)
class DataOrder:
    """Which items take part, how large, and what they may carry."""

    concepts: tuple[str, ...]
    """Ids of the model's concepts, in the order of its outputs."""
    image_size: int
    """Shorter side of the packed pictures, in pixels."""
    exclusive: bool = False
    """Softmax: exactly one concept is true of an item."""
    is_by_angles: bool = False
    """Learned by angles, which is exclusive in any case: no logreg could change it."""
    needs_boxes: bool = False
    """A detector's: what counts are the items' boxes, not what they carry as a whole."""
    closed_environment: bool = False
    """Only items that carry one of the concepts take part; else the others train too, as background."""
    invalid_data_tolerance_percent: float = 5.0
    """More undecodable items than this end the training."""
    unseen_share: float = 0.0
    """An embedder's: this share of the concepts is kept out of the training, to be found by an embedding that never saw
    them."""

    def __post_init__(self) -> None:
        assert self.concepts, "a data order needs concepts"
        assert len(set(self.concepts)) == len(self.concepts), "a data order names each concept once"
