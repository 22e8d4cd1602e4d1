"""A training set of labelled pictures: packed, split and labelled, with what is worth knowing about it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lehr.errors import NoPositives, NoTrainingData, TooManyBadItems
from lehr.learn.data import near_duplicates
from lehr.learn.data.boxes import ItemBoxes, boxed, boxes_of
from lehr.learn.data.early_warnings import early_warnings, listed
from lehr.learn.data.order import DataOrder
from lehr.learn.data.packs import Decode, Pack, Packs, Source, decode_here
from lehr.learn.data.split import unseen_concepts
from lehr.learn.data.video_split import held_out_videos
from lehr.learn.items import Finding, Item, chosen, findings_of_choice
from lehr.learn.problem import Problem

if TYPE_CHECKING:
    from lehr.learn.device import Device


@dataclass(frozen=True, kw_only=True)
class Data:
    """Items that could be read, in the order of their content, and which of them train."""

    order: DataOrder
    pack: Pack
    items: tuple[Item, ...]
    rows_N: np.ndarray
    """int64 [N]: each item's row in the pack."""
    targets_NK: np.ndarray
    """float32 [N, K]: 1 where the concept is true, else 0."""
    is_held_N: np.ndarray
    """bool [N]: True for the items kept for evaluation."""
    groups_N: np.ndarray
    """int64 [N]: equal numbers are near-duplicates of one another."""
    findings: tuple[Finding, ...]
    unreadable: Mapping[str, str]
    """Why an item could not be read, by its id."""
    unseen: tuple[str, ...] = ()
    """Concepts kept out of the training, all of their items held out."""
    boxes_N: tuple[ItemBoxes, ...] = ()
    """Each item's boxes where a detector learns from them; else empty."""

    @cached_property
    def train_indices(self) -> np.ndarray:
        """int64: indices of the training items."""
        return np.flatnonzero(~self.is_held_N)

    @cached_property
    def held_indices(self) -> np.ndarray:
        """int64: indices of the held-out items."""
        return np.flatnonzero(self.is_held_N)

    @cached_property
    def native_sizes(self) -> tuple[tuple[int, int] | None, ...]:
        """Each item's height and width in pixels as it was sent; None where its pack is of before they were kept."""
        records = [self.pack.records[row] for row in self.rows_N]
        return tuple((each.native_height, each.native_width) if each.native_height else None for each in records)

    @property
    def num_train(self) -> int:
        """Training items."""
        return len(self.train_indices)

    @property
    def num_held_out(self) -> int:
        """Held-out items."""
        return len(self.held_indices)

    @property
    def train_ids(self) -> tuple[str, ...]:
        """Ids of the training items."""
        return tuple(self.items[index].id for index in self.train_indices)

    @property
    def held_out_ids(self) -> tuple[str, ...]:
        """Ids of the held-out items."""
        return tuple(self.items[index].id for index in self.held_indices)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that determines a training on this data: contents, labels, split, concepts, size."""
        digest = hashlib.sha256(f"{self.order.image_size} {self.order.concepts}".encode())
        digest.update("".join(item.sha256 for item in self.items).encode())
        digest.update(self.targets_NK.tobytes() + self.is_held_N.tobytes())
        for boxes in self.boxes_N:
            digest.update(boxes.fractions.tobytes() + boxes.classes.tobytes())
        return digest.hexdigest()

    def problem(self, device: Device, weights: Path | None = None) -> Problem:
        """What a template needs to know of this data. `weights`: folder of extra pretrained weights."""
        positives_K = self.targets_NK[self.train_indices].sum(axis=0)
        return Problem(
            concepts=self.order.concepts,
            num_items=self.num_train,
            positives=tuple(int(count) for count in positives_K),
            device=device,
            weights=weights,
        )


def build_data(
    order: DataOrder,
    items: Sequence[Item],
    *,
    packs: Packs,
    decode: Decode = decode_here,
    parallel: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Data:
    """Chooses, packs, splits and labels. `decode`, `parallel` and `on_progress` as in `Packs.build`.

    Raises NoTrainingData, NoPositives, SingleClass, TooManyBadItems, or TrainingStopped, each with its sentence.
    """
    taking_part, told = _taking_part(order, items)
    sources = [Source(item.sha256, item.read) for item in taking_part]
    pack = packs.build(sources, order.image_size, decode=decode, parallel=parallel, on_progress=on_progress)
    unreadable = {item.id: pack.unreadable[item.sha256] for item in taking_part if item.sha256 in pack.unreadable}
    _check_tolerance(order, unreadable, len(taking_part))
    readable = tuple(
        sorted((item for item in taking_part if item.id not in unreadable), key=lambda item: (item.sha256, item.id))
    )
    if not readable:
        raise NoTrainingData(f"None of {len(taking_part)} items could be read: {listed(unreadable)}")
    data = _labelled(order, pack, readable, unreadable)
    return replace(data, findings=(*told, *early_warnings(data)))


def _taking_part(order: DataOrder, items: Sequence[Item]) -> tuple[tuple[Item, ...], tuple[Finding, ...]]:
    """The items that take part, and what is to be said of the others."""
    if not order.needs_boxes:
        return chosen(order, items), tuple(findings_of_choice(order, items))
    found = boxed(order, items)
    return found.items, found.findings


def _labelled(order: DataOrder, pack: Pack, items: tuple[Item, ...], unreadable: Mapping[str, str]) -> Data:
    rows_N = np.array([pack.rows[item.sha256] for item in items], dtype=np.int64)
    targets_NK = np.array(
        [[concept in item.positives for concept in order.concepts] for item in items], dtype=np.float32
    )
    if not targets_NK.any():
        raise NoPositives(f"Every item with a positive concept is unreadable: {listed(unreadable)}")
    groups_N = near_duplicates.groups(pack.signatures)[rows_N]
    unseen = unseen_concepts(items, order.concepts, order.unseen_share)
    is_held_N = held_out_videos(items, groups_N, order.concepts) | _carries(targets_NK, order, unseen)
    return Data(
        order=order,
        pack=pack,
        items=items,
        rows_N=rows_N,
        targets_NK=targets_NK,
        is_held_N=_with_something_to_train(is_held_N, targets_NK),
        groups_N=groups_N,
        findings=(),
        unreadable=unreadable,
        unseen=unseen,
        boxes_N=tuple(boxes_of(order, item) for item in items) if order.needs_boxes else (),
    )


def _carries(targets_NK: np.ndarray, order: DataOrder, concepts: Sequence[str]) -> np.ndarray:
    """bool [N]: True for items that carry one of the concepts."""
    columns = [order.concepts.index(concept) for concept in concepts]
    return np.any(targets_NK[:, columns], axis=1)


def _with_something_to_train(is_held_N: np.ndarray, targets_NK: np.ndarray) -> np.ndarray:
    if not targets_NK[~is_held_N].any():
        raise NoPositives("Every item with a positive concept is marked as a test item: mark some of them to train.")
    return is_held_N


def _check_tolerance(order: DataOrder, unreadable: Mapping[str, str], num_items: int) -> None:
    percent = 100.0 * len(unreadable) / num_items
    if percent > order.invalid_data_tolerance_percent:
        raise TooManyBadItems(
            f"{len(unreadable)} of {num_items} items ({percent:.1f} %) cannot be read, more than the "
            f"{order.invalid_data_tolerance_percent:g} % that invalid_data_tolerance_percent allows. "
            f"Remove or replace them, or raise the tolerance: {listed(unreadable)}"
        )
