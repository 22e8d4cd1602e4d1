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
from lehr.learn.data.boxes import ItemBoxes, box_counts, boxed, boxes_of, tiny_boxes
from lehr.learn.data.order import DataOrder
from lehr.learn.data.packs import Decode, Pack, Packs, Source, decode_here
from lehr.learn.data.split import held_out, unseen_concepts
from lehr.learn.detection.framing import framed_size
from lehr.learn.items import Finding, Item, chosen, findings_of_choice, findings_of_counts
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
        raise NoTrainingData(f"None of {len(taking_part)} items could be read: {_listed(unreadable)}")
    data = _labelled(order, pack, readable, unreadable)
    return replace(data, findings=(*told, *_findings(data)))


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
        raise NoPositives(f"Every item with a positive concept is unreadable: {_listed(unreadable)}")
    groups_N = near_duplicates.groups(pack.signatures)[rows_N]
    unseen = unseen_concepts(items, order.concepts, order.unseen_share)
    is_held_N = held_out(items, groups_N.tolist(), order.concepts) | _carries(targets_NK, order, unseen)
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
            f"Remove or replace them, or raise the tolerance: {_listed(unreadable)}"
        )


def _findings(data: Data) -> list[Finding]:
    num_background = int((data.targets_NK[data.train_indices].sum(axis=1) == 0).sum())
    findings = findings_of_counts(data.order, _counts(data), num_background, data.unseen) + _of_boxes(data)
    if data.unreadable:
        text = f"{len(data.unreadable)} items cannot be read and are left out: {_listed(data.unreadable)}"
        findings.insert(0, Finding(kind="unreadable", text=text, item_ids=tuple(data.unreadable)))
    if data.unseen:
        text = (
            f"{len(data.unseen)} of {len(data.order.concepts)} concepts are kept out of the training, to measure how "
            f"well the embedding tells apart what it has never seen: {', '.join(data.unseen[:10])}"
            f"{', …' * (len(data.unseen) > 10)}. With unseen_concepts 0 all of them train."
        )
        findings.append(Finding(kind="unseen", text=text, concepts=data.unseen))
    if not data.num_held_out:
        text = "There are too few items to hold some out: accuracy on unseen pictures will not be known."
        findings.append(Finding(kind="no_held_out", text=text))
    return findings + _contradictions(data)


def _counts(data: Data) -> list[int]:
    """Training items of every concept; for a detector, training boxes."""
    if data.order.needs_boxes:
        return box_counts([data.boxes_N[index] for index in data.train_indices], len(data.order.concepts))
    return data.targets_NK[data.train_indices].sum(axis=0).astype(int).tolist()


def _of_boxes(data: Data) -> list[Finding]:
    """What the sizes of the boxes say; nothing where there are none."""
    size = data.order.image_size
    records = [data.pack.records[row] for row in data.rows_N] if data.boxes_N else []
    sizes = [framed_size(record.height, record.width, size) for record in records]
    found = tiny_boxes(data.boxes_N, sizes, size)
    return [found] if found else []


def _contradictions(data: Data) -> list[Finding]:
    """Copies of one picture that carry different concepts: one of the labels is probably wrong."""
    members: dict[int, list[int]] = {}
    for index, group in enumerate(data.groups_N):
        members.setdefault(int(group), []).append(index)
    findings = []
    for indices in members.values():
        if len(indices) > 1 and (data.targets_NK[indices] != data.targets_NK[indices[0]]).any():
            ids = tuple(data.items[index].id for index in indices)
            labels = "; ".join(
                f"{data.items[index].id}: {', '.join(sorted(data.items[index].positives)) or 'nothing'}"
                for index in indices[:4]
            )
            text = f"{len(ids)} items show nearly the same picture but carry different concepts ({labels})."
            findings.append(Finding(kind="near_duplicates", text=text, item_ids=ids))
    return findings[:_MAX_CONTRADICTIONS]


_MAX_CONTRADICTIONS = 50


def _listed(unreadable: Mapping[str, str]) -> str:
    shown = "; ".join(f"{item_id}: {why}" for item_id, why in list(unreadable.items())[:5])
    return shown + (f"; and {len(unreadable) - 5} more." if len(unreadable) > 5 else "")
