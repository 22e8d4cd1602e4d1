"""Decides which items are held out for evaluation: by their marks, else one in five, the same ones every time."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from lehr.learn.items import Item

HELD_OUT_SHARE = 0.2


def held_out(items: Sequence[Item], group_of: Sequence[int], concepts: Sequence[str]) -> np.ndarray:
    """bool [N]: True where the item is kept for evaluation.

    Items marked "test" are held out and, if there are any, all others train. Without such marks a fifth of each
    concept's near-duplicate groups (`group_of`: equal numbers are copies of one another) is held out, chosen by the
    hash of their content; items marked "train" never are. Every concept keeps at least one group for training.
    """
    marked = np.array([item.split == "test" for item in items], dtype=bool)
    if marked.any():
        return marked
    members: dict[int, list[int]] = {}
    for row, group in enumerate(group_of):
        members.setdefault(int(group), []).append(row)
    is_held = np.zeros(len(items), dtype=bool)
    for homes in _groups_by_concept(items, members, concepts).values():
        free = [group for group in homes if all(items[row].split != "train" for row in members[group])]
        for group in free[: _num_held(len(homes))]:
            is_held[members[group]] = True
    return is_held


def _num_held(num_groups: int) -> int:
    """A fifth, rounded, but never the last one."""
    return min(int(num_groups * HELD_OUT_SHARE + 0.5), num_groups - 1)


def _groups_by_concept(
    items: Sequence[Item], members: dict[int, list[int]], concepts: Sequence[str]
) -> dict[str, list[int]]:
    """Each group under its rarest concept ("" for background), ordered by the hash of its content."""
    wanted = set(concepts)
    frequency = Counter(concept for item in items for concept in item.positives & wanted)
    homes: dict[str, list[int]] = {}
    for group, rows in members.items():
        carried = {concept for row in rows for concept in items[row].positives & wanted}
        home = min(carried, key=lambda concept: (frequency[concept], concept), default="")
        homes.setdefault(home, []).append(group)
    for groups in homes.values():
        groups.sort(key=lambda group: _rank(items, members[group]))
    return homes


def _rank(items: Sequence[Item], rows: Sequence[int]) -> str:
    """The content hash is hashed once more: clients may have sorted by it."""
    lowest = min(items[row].sha256 for row in rows)
    return hashlib.sha256(f"held out {lowest}".encode()).hexdigest()


def unseen_concepts(items: Sequence[Item], concepts: Sequence[str], share: float) -> tuple[str, ...]:
    """The given share of the concepts, chosen by the hash of their ids among those that two items or more carry.

    At least one other concept is left to train on.
    """
    frequency = Counter(concept for item in items for concept in item.positives)
    able = sorted((concept for concept in concepts if frequency[concept] > 1), key=_unseen_rank)
    count = min(round(share * len(concepts)), len(able) - 1)
    return tuple(sorted(able[: max(count, 0)]))


def _unseen_rank(concept: str) -> str:
    return hashlib.sha256(f"unseen {concept}".encode()).hexdigest()
