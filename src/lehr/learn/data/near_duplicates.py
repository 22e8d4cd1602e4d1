"""Finds pictures that are copies of one another but for size, compression or a slight retouch.

Two pictures are near-duplicates when their perceptual hashes differ in at most 7 of 64 bits and their 16 x 16 grey
thumbnails by at most 3 levels of 255 on average. Candidates come from the pigeonhole principle: of the four 16-bit
words of two such hashes at least one differs in no more than one bit, so only pictures are compared of which a word is
equal or one bit apart. Where very many share a word (blank pictures, a camera that never moves) each meets only those
whose hash and brightness are nearest, which keeps the time in proportion to the number of pictures.

Shapes: N pictures, P pairs of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

MAX_BITS = 7
MAX_LEVELS = 3.0
_CROWD = 256
"""Where more share a word each picture meets so many of those that follow it, and of another word those around it."""
_MAX_PAIRS = 1 << 21
"""Smaller sets may have larger crowds: so many pairs are compared per word in any case."""
_FLIPS = (0, *(1 << bit for bit in range(16)))
_PORTION = 1 << 16
"""Pairs looked at together."""


def groups(signatures: np.ndarray) -> np.ndarray:
    """int64 [N]: per picture the lowest row of its group. `signatures`: uint8 [N, 264] as in a pack."""
    hashes_N = np.ascontiguousarray(signatures[:, :8]).view(">u8").astype(np.uint64).ravel()
    thumbnails = signatures[:, 8:].astype(np.int16)
    brightness_N = thumbnails.sum(axis=1, dtype=np.int64)
    parent_N = np.arange(len(signatures))
    for word in range(4):
        turned_N = np.bitwise_or(hashes_N << np.uint64(16 * word), hashes_N >> np.uint64(-16 * word % 64))
        order_N = np.lexsort((brightness_N, turned_N))
        for flip in _FLIPS:
            for pair_2P in _candidates(turned_N[order_N], flip):
                one_P, other_P = (order_N[place_P] for place_P in pair_2P)
                # the mean of differences is no less than the difference of means, which is quickly seen
                is_like_P = np.abs(brightness_N[one_P] - brightness_N[other_P]) <= MAX_LEVELS * thumbnails.shape[1]
                _join_near(parent_N, one_P[is_like_P], other_P[is_like_P], thumbnails)
    return _flattened(parent_N)


def _candidates(hashes_N: np.ndarray, flip: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places of pairs, int64 [P] each, whose hashes are near and whose first words differ by `flip`; in portions.

    `hashes_N`: uint64, sorted. Each pair comes once.
    """
    crowd = max(_CROWD, _MAX_PAIRS // max(len(hashes_N), 1))
    words_N = (hashes_N >> np.uint64(48)).astype(np.int64)
    bounds = np.searchsorted(words_N, np.arange((1 << 16) + 1))
    own_N = np.flatnonzero(words_N & flip == 0)
    first_N, last_N = bounds[words_N[own_N] | flip], bounds[(words_N[own_N] | flip) + 1]
    if flip == 0:
        first_N = own_N + 1
        last_N = np.minimum(last_N, first_N + crowd)
    else:
        place_N = np.searchsorted(hashes_N, hashes_N[own_N] | np.uint64(flip << 48))
        first_N = np.maximum(first_N, place_N - crowd // 2)
        last_N = np.minimum(last_N, place_N + crowd // 2)
    ends_N = np.cumsum(np.maximum(last_N - first_N, 0))
    for start in range(0, int(ends_N[-1]) if len(ends_N) else 0, _PORTION):
        pair_P = np.arange(start, min(start + _PORTION, int(ends_N[-1])))
        row_P = np.searchsorted(ends_N, pair_P, side="right")
        other_P = last_N[row_P] - (ends_N[row_P] - pair_P)
        one_P = own_N[row_P]
        is_near_P = np.bitwise_count(hashes_N[one_P] ^ hashes_N[other_P]) <= MAX_BITS
        if is_near_P.any():
            yield one_P[is_near_P], other_P[is_near_P]


def _join_near(parent_N: np.ndarray, one_P: np.ndarray, other_P: np.ndarray, thumbnails: np.ndarray) -> None:
    """Joins the pairs whose thumbnails are near, in place; those that are together already are not looked at again."""
    roots_N = _flattened(parent_N)
    is_apart_P = roots_N[one_P] != roots_N[other_P]
    one_P, other_P = one_P[is_apart_P], other_P[is_apart_P]
    levels_P = np.abs(thumbnails[one_P] - thumbnails[other_P]).mean(axis=1)
    for one, other in zip(one_P[levels_P <= MAX_LEVELS], other_P[levels_P <= MAX_LEVELS], strict=True):
        _join(parent_N, one, other)


def _flattened(parent_N: np.ndarray) -> np.ndarray:
    """int64 [N]: the root of every row."""
    roots_N = parent_N
    while not np.array_equal(further_N := roots_N[roots_N], roots_N):
        roots_N = further_N
    return roots_N


def _root(parent: np.ndarray, row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = parent[row]
    return row


def _join(parent: np.ndarray, one: int, other: int) -> None:
    """The lower row becomes the root, so that the answer does not depend on the order of joining."""
    low, high = sorted((_root(parent, one), _root(parent, other)))
    parent[high] = low
