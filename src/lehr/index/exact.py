"""Exact search over all vectors, block by block. Slow and right: the oracle that the approximate index is held to.

Q queries, N vectors, D dimensions. All vectors have length 1, so the cosine is the dot product, and the order by
cosine is that by Euclidean distance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["Nearest", "merged", "nearest", "nearest_to", "nothing"]

BLOCK_VALUES = 4 << 20
"""Values of one block: 16 MiB in float32, near what a processor's cache holds."""
GATHERED = 4
"""Gathering a row costs about as much as comparing so many in passing."""
MANY = 1024
"""From so many neighbours on they are sorted once, at the end."""


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """The best rows of each query, the nearest first; where there are fewer than asked, row -1."""

    rows_QK: np.ndarray
    """int64."""
    cosines_QK: np.ndarray
    """float32; -inf where the row is -1."""


def nearest(vectors_ND: np.ndarray, queries_QD: np.ndarray, k: int, *, among: np.ndarray | None = None) -> Nearest:
    """The `k` best rows of `vectors_ND` (float16 or float32), or of those in `among` (positions) alone.

    Equal cosines are ordered by row.
    """
    assert k >= 1, f"k {k}"
    assert queries_QD.ndim == 2, f"queries {queries_QD.shape}"
    num_rows = len(vectors_ND) if among is None else len(among)
    if k >= MANY and num_rows > MANY:
        return _of_many(vectors_ND, queries_QD, k, among)
    best = nothing(len(queries_QD), k)
    for rows, cosines_QB in _blocks(vectors_ND, queries_QD, among):
        best = merged(best, _best_of(rows, cosines_QB, k), k)
    return best


def nearest_to(
    query_D: np.ndarray, vectors_ND: np.ndarray, k: int, *, among: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """As `nearest` for one query, without what many cost: rows and cosines, the nearest first. Of float32 vectors."""
    cosines_N = _cosines(query_D, vectors_ND, among)
    rows_N = np.arange(len(vectors_ND)) if among is None else among
    if len(rows_N) > k:
        picked = cosines_N.argpartition(len(rows_N) - k)[len(rows_N) - k :]
        rows_N, cosines_N = rows_N[picked], cosines_N[picked]
    order = np.lexsort((rows_N, -cosines_N))
    return rows_N[order], cosines_N[order]


def _cosines(query_D: np.ndarray, vectors_ND: np.ndarray, among: np.ndarray | None) -> np.ndarray:
    """Of many chosen rows it is cheaper to compare all than to gather them."""
    if among is None:
        return np.asarray(vectors_ND @ query_D)
    if GATHERED * len(among) > len(vectors_ND):
        return np.asarray(vectors_ND @ query_D)[among]
    step = max(1, BLOCK_VALUES // len(query_D))
    if len(among) <= step:
        return np.asarray(vectors_ND.take(among, axis=0) @ query_D)
    return np.concatenate(
        [vectors_ND.take(among[at : at + step], axis=0) @ query_D for at in range(0, len(among), step)]
    )


def _blocks(
    vectors_ND: np.ndarray, queries_QD: np.ndarray, among: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows, and the cosines of every query with them, a block at a time."""
    num_rows = len(vectors_ND) if among is None else len(among)
    step = max(1, BLOCK_VALUES // max(1, queries_QD.shape[1]))
    for start in range(0, num_rows, step):
        rows = np.arange(start, min(start + step, num_rows)) if among is None else among[start : start + step]
        block_BD = vectors_ND[rows[0] : rows[-1] + 1] if among is None else vectors_ND[rows]
        yield rows, queries_QD @ block_BD.astype(np.float32, copy=False).T


def _of_many(vectors_ND: np.ndarray, queries_QD: np.ndarray, k: int, among: np.ndarray | None) -> Nearest:
    """One sort at the end, where merging block by block would sort the same rows again and again."""
    parts = list(_blocks(vectors_ND, queries_QD, among))
    rows = np.concatenate([rows for rows, _ in parts])
    cosines_QN = np.concatenate([cosines for _, cosines in parts], axis=1)
    return merged(nothing(len(queries_QD), k), _best_of(rows, cosines_QN, k), k)


def nothing(num_queries: int, k: int) -> Nearest:
    """What is found before anything was looked at."""
    return Nearest(
        rows_QK=np.full((num_queries, k), -1, np.int64), cosines_QK=np.full((num_queries, k), -np.inf, np.float32)
    )


def _best_of(rows: np.ndarray, cosines_QB: np.ndarray, k: int) -> Nearest:
    """The k best of a block, in no order."""
    if cosines_QB.shape[1] <= k:
        return Nearest(rows_QK=np.broadcast_to(rows, cosines_QB.shape), cosines_QK=cosines_QB)
    picked_QK = np.argpartition(-cosines_QB, k - 1, axis=1)[:, :k]
    return Nearest(rows_QK=rows[picked_QK], cosines_QK=np.take_along_axis(cosines_QB, picked_QK, 1))


def merged(one: Nearest, other: Nearest, k: int) -> Nearest:
    """The k best of both, the nearest first."""
    rows = np.concatenate([one.rows_QK, other.rows_QK], axis=1)
    cosines = np.concatenate([one.cosines_QK, other.cosines_QK], axis=1)
    order = np.lexsort((rows, -cosines), axis=1)[:, :k]
    return Nearest(rows_QK=np.take_along_axis(rows, order, 1), cosines_QK=np.take_along_axis(cosines, order, 1))
