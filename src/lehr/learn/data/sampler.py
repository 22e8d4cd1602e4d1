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


def epoch_batches(num_items: int, batch_size: int) -> tuple[int, ...]:
    """Batch sizes of one epoch of `num_items` draws.

    A last batch smaller than a quarter is left to the next epoch, whose stream simply begins there.
    """
    full, rest = divmod(num_items, batch_size)
    if rest and (not full or rest * _DROPPED_SHARE >= batch_size):
        return (batch_size,) * full + (rest,)
    return (batch_size,) * full


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
