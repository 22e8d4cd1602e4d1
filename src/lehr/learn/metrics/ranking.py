"""Every figure of one concept's scores, from sorting them once. Numpy only.

Shapes: N items, G groups of equal scores (highest first), T thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Items by falling score; those with equal scores, which no threshold tells apart, are one group."""

    scores_G: np.ndarray
    shown_G: np.ndarray
    """int64: items down to the end of the group."""
    hits_G: np.ndarray
    """int64: positives among them."""

    @property
    def num_items(self) -> int:
        """N."""
        return int(self.shown_G[-1]) if len(self.shown_G) else 0

    @property
    def num_positive(self) -> int:
        """Items of which the concept is true."""
        return int(self.hits_G[-1]) if len(self.hits_G) else 0

    @property
    def num_negative(self) -> int:
        """The others."""
        return self.num_items - self.num_positive

    def roc_auc(self) -> float | None:
        """Probability that a positive scores above a negative, ties half (Mann-Whitney U). None without both kinds."""
        if not self.num_positive or not self.num_negative:
            return None
        positives_G, negatives_G = (np.diff(counts, prepend=0) for counts in (self.hits_G, self.shown_G - self.hits_G))
        below_G = self.num_negative - np.cumsum(negatives_G)
        wins = (positives_G * (below_G + negatives_G / 2)).sum()
        return float(wins / (self.num_positive * self.num_negative))

    def average_precision(self) -> float | None:
        """Sum over thresholds of (recall gained) x precision, without interpolation. None without positives."""
        if not self.num_positive:
            return None
        gained_G = np.diff(self.hits_G, prepend=0) / self.num_positive
        return float((gained_G * self.hits_G / self.shown_G).sum())

    def best_threshold(self, num_true: int | None = None) -> float:
        """Where "at least the threshold" has the largest F1, midway to the next score below; 0.5 without positives.

        `num_true`: all that there was to find, where some of it is not among the items and so has no score.
        """
        if not self.num_positive:
            return 0.5
        num_true = self.num_positive if num_true is None else num_true
        best = int(np.argmax(2 * self.hits_G / (self.shown_G + num_true)))
        below = self.scores_G[best + 1] if best + 1 < len(self.scores_G) else 0.0
        return (float(self.scores_G[best]) + float(below)) / 2

    def at_least(self, thresholds_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(items, positives) whose score reaches each threshold, int64 [T] each."""
        groups_T = np.searchsorted(-self.scores_G, -np.asarray(thresholds_T), side="right")
        found_T, hits_T = (np.concatenate([[0], counts])[groups_T] for counts in (self.shown_G, self.hits_G))
        return found_T, hits_T


def ranking(scores_N: np.ndarray, is_true_N: np.ndarray) -> Ranking:
    """Of float scores and booleans, one each per item."""
    order_N = np.argsort(-scores_N)
    sorted_N = scores_N[order_N]
    ends_G = np.flatnonzero(np.append(np.diff(sorted_N) != 0, True)) if len(sorted_N) else np.zeros(0, np.int64)
    hits_N = np.cumsum(is_true_N[order_N], dtype=np.int64)
    return Ranking(scores_G=sorted_N[ends_G].astype(np.float64), shown_G=ends_G + 1, hits_G=hits_N[ends_G])
