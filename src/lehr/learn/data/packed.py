"""Pictures that the packs of trainings hold: read from there instead of decoded again. Makes no packs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lehr.learn.data.packs import Pack, Packs, read_pack

Found = Callable[[str], np.ndarray | None]
"""SHA-256 of a file -> its pixels, uint8 [H, W, 3]; None where no pack has them."""


@dataclass(frozen=True, kw_only=True)
class Packed:
    """What is on this machine. A pack stays open as long as it is there; safe to use from many threads."""

    packs: Packs
    _open: dict[Path, Pack] = field(default_factory=dict)

    def of_size(self, image_size: int) -> Found:
        """Pixels with this shorter side, as `decode` makes them; a pack of JPEGs holds others."""
        packs = [pack for pack in self._looked(image_size) if pack.is_raw]
        rows = {sha256: (pack, row) for pack in packs for sha256, row in pack.rows.items()}

        def found(sha256: str) -> np.ndarray | None:
            pack, row = rows.get(sha256, (None, 0))
            return None if pack is None else pack.pixels(row)

        return found

    def _looked(self, image_size: int) -> list[Pack]:
        there = self.packs.of_size(image_size)
        for path in [path for path in self._open if path.name.startswith(f"{image_size}-") and path not in there]:
            self._open.pop(path, None)
        for path in there:
            if path not in self._open:
                with suppress(FileNotFoundError):  # it was removed meanwhile
                    self._open[path] = _mapped(path)
        return [self._open[path] for path in there if path in self._open]


def _mapped(path: Path) -> Pack:
    """Open for good: what is mapped stays readable when the pack is removed."""
    pack = read_pack(path)
    assert pack.bytes_ is not None
    return pack
