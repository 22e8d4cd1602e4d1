"""Finds pictures that are copies of one another but for size, compression or a slight retouch.

Two pictures are near-duplicates when their perceptual hashes differ in at most 7 of 64 bits and their 16 x 16 grey
thumbnails by at most 3 levels of 255 on average. Candidates come from the pigeonhole principle: of the eight bytes of
two such hashes at least one is equal, so only pictures that share a byte are compared.
"""

from __future__ import annotations

import numpy as np

MAX_BITS = 7
MAX_LEVELS = 3.0
_LARGE_BUCKET = 256


def groups(signatures: np.ndarray) -> np.ndarray:
    """int64 [N]: per picture the lowest row of its group. `signatures`: uint8 [N, 264] as in a pack."""
    parent = np.arange(len(signatures))
    hashes, thumbnails = signatures[:, :8], signatures[:, 8:].astype(np.int16)
    for part in range(8):
        keys = hashes[:, part].astype(np.int64)
        order = np.argsort(keys, kind="stable")
        borders = np.flatnonzero(np.diff(keys[order])) + 1
        for bucket in np.split(order, borders):
            if len(bucket) > 1:
                _join_bucket(parent, bucket, hashes, thumbnails)
    return np.array([_root(parent, row) for row in range(len(parent))], dtype=np.int64)


def _join_bucket(parent: np.ndarray, bucket: np.ndarray, hashes: np.ndarray, thumbnails: np.ndarray) -> None:
    """Joins the near pairs of one bucket. In a large bucket each picture meets only the next 256: enough for copies."""
    for position, row in enumerate(bucket[:-1]):
        others = bucket[position + 1 : position + 1 + _LARGE_BUCKET]
        bits = np.bitwise_count(hashes[others] ^ hashes[row]).sum(axis=1)
        others = others[bits <= MAX_BITS]
        if len(others):
            levels = np.abs(thumbnails[others] - thumbnails[row]).mean(axis=1)
            for other in others[levels <= MAX_LEVELS]:
                _join(parent, row, other)


def _root(parent: np.ndarray, row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = parent[row]
    return row


def _join(parent: np.ndarray, one: int, other: int) -> None:
    """The lower row becomes the root, so that the answer does not depend on the order of joining."""
    low, high = sorted((_root(parent, one), _root(parent, other)))
    parent[high] = low
