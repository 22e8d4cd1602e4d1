"""What is odd or wrong about a data set: counted by kind, with the first few places of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

NUM_SHOWN = 3


@dataclass
class Kind:
    """One thing that was found, however often."""

    sentence: str
    is_error: bool
    number: int = 0
    places: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        more = ", …" if self.number > len(self.places) else ""
        return f"{self.number:,} {self.sentence} ({', '.join(self.places)}{more})"


class Findings:
    """Collects. An error means that something would be lost or be wrong; a notice, that it was put right."""

    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {}

    def error(self, sentence: str, place: str) -> None:
        """`sentence` goes on from a number: "boxes name a class that is not declared"."""
        self._count(sentence, place, is_error=True)

    def notice(self, sentence: str, place: str) -> None:
        """The same for what does no harm."""
        self._count(sentence, place, is_error=False)

    def _count(self, sentence: str, place: str, *, is_error: bool) -> None:
        kind = self._kinds.setdefault(sentence, Kind(sentence, is_error))
        kind.number += 1
        if len(kind.places) < NUM_SHOWN:
            kind.places.append(place)

    @property
    def has_errors(self) -> bool:
        """Whether anything would be lost."""
        return any(kind.is_error for kind in self._kinds.values())

    def __iter__(self) -> Iterator[Kind]:
        return iter(sorted(self._kinds.values(), key=lambda kind: not kind.is_error))
