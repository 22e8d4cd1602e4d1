"""Which items each step sees: one endless shuffled stream, a pure function of the seed and the position.

The stream runs on over epoch borders, so that an epoch shorter than the data set starves nothing, and a run resumed at
any step sees exactly what it would have seen: the position is the whole state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_DROPPED_SHARE = 4


@dataclass(frozen=True, kw_only=True)
class Batches:
    """Sizes of one epoch's batches, in their order; arithmetic, however many they are."""

    batch_size: int
    num_full: int
    rest: int
    """Size of a smaller last batch; 0: there is none."""

    def __len__(self) -> int:
        """Batches."""
        return self.num_full + (self.rest > 0)

    def __getitem__(self, number: int) -> int:
        """Items of a batch, the first one's number being 0. Raises IndexError for one that is not there."""
        if not 0 <= number < len(self):
            raise IndexError(f"batch {number} of {len(self)}")
        return self.batch_size if number < self.num_full else self.rest

    @property
    def num_items(self) -> int:
        """Of all batches together."""
        return self.num_full * self.batch_size + self.rest


def epoch_batches(num_items: int, batch_size: int) -> Batches:
    """The batches of one epoch of `num_items` draws.

    A last batch smaller than a quarter is left to the next epoch, whose stream simply begins there.
    """
    num_full, rest = divmod(num_items, batch_size)
    is_dropped = num_full and rest * _DROPPED_SHARE < batch_size
    return Batches(batch_size=batch_size, num_full=num_full, rest=0 if is_dropped else rest)


@dataclass(frozen=True, kw_only=True)
class Stream:
    """The endless order of `num_items` items; each pass over them is shuffled by (seed, number of the pass)."""

    num_items: int
    seed: int
    balanced_groups: tuple[tuple[int, ...], ...] = ()
    """With groups of items (one per concept), every pass draws equally from each of them."""

    def rows(self, start: int, count: int) -> np.ndarray:
        """int64 [count]: the items at positions start … start + count - 1."""
        positions = np.arange(start, start + count)
        passes = positions // self.num_items
        rows = np.empty(count, dtype=np.int64)
        for number in np.unique(passes):
            inside = passes == number
            rows[inside] = _shuffled(self.num_items, self.seed, int(number), self.balanced_groups)[
                positions[inside] % self.num_items
            ]
        return rows


@lru_cache(maxsize=8)
def _shuffled(num_items: int, seed: int, number: int, groups: tuple[tuple[int, ...], ...]) -> np.ndarray:
    generator = np.random.default_rng((seed, 0x5EED, number))
    if not groups:
        return generator.permutation(num_items)
    quota = math.ceil(num_items / len(groups))
    drawn = np.concatenate([_repeated(generator, group, quota) for group in groups])
    return generator.permutation(drawn)[:num_items]


def _repeated(generator: np.random.Generator, group: Sequence[int], quota: int) -> np.ndarray:
    """`quota` items of a group: all of them before any comes again."""
    rounds = math.ceil(quota / len(group))
    return np.concatenate([generator.permutation(np.asarray(group)) for _ in range(rounds)])[:quota]
