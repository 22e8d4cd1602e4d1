"""What is worth knowing of a training set before it trains: decided from what was built, numpy only.

What counts of concepts says items.py, of boxes boxes.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lehr.learn.data.boxes import box_counts, tiny_boxes
from lehr.learn.detection.framing import framed_size
from lehr.learn.items import Finding, findings_of_counts

if TYPE_CHECKING:
    from lehr.learn.data.dataset import Data

MAX_CONTRADICTIONS = 50
SMALL_SHARE = 0.1
"""From this share of pictures on that are enlarged, by half or more in the median, it is worth a word."""
ENLARGED = 1.5
LEAST_SIZE, SIZE_STEP = 64, 32
"""Of the image sizes that are advised: networks that were trained on larger pictures make little of smaller ones."""


class Enlarged(NamedTuple):
    """Pictures that are smaller than an image size."""

    num_pictures: int
    text: str
    """What to say of them, after their number."""
    wanted: int
    """The image size that would do for nearly all pictures; 0: not a smaller one, others are large."""


def enlarged(shorter_sides: Sequence[int], image_size: int) -> Enlarged | None:
    """What native sizes say of an image size; None where few pictures are enlarged by much, or none smaller would do.

    `shorter_sides`: of every picture, in pixels as it was sent.
    """
    small = [side for side in shorter_sides if side < image_size]
    if not small or len(small) < SMALL_SHARE * len(shorter_sides) or np.median(small) * ENLARGED > image_size:
        return None
    wanted = max(LEAST_SIZE, SIZE_STEP * int(np.ceil(np.percentile(shorter_sides, 90) / SIZE_STEP)))
    if wanted < image_size:
        advice = f"image_size {wanted} trains faster, and often as well"
    elif len(small) < (1 - SMALL_SHARE) * len(shorter_sides):
        advice, wanted = "expect less of them than of the others", 0
    else:
        return None
    text = (
        f"are smaller than image_size {image_size} (the median's shorter side is {np.median(small):g}): they are "
        f"enlarged, which costs time and adds no detail; {advice}."
    )
    return Enlarged(num_pictures=len(small), text=text, wanted=wanted)


def early_warnings(data: Data) -> list[Finding]:
    """Everything that is noticed; no item is decoded for it."""
    num_background = int((data.targets_NK[data.train_indices].sum(axis=1) == 0).sum())
    findings = findings_of_counts(data.order, _counts(data), num_background, data.unseen)
    findings += [found for found in (_tiny_boxes(data, data.order.image_size), _small_pictures(data)) if found]
    if data.unreadable:
        text = f"{len(data.unreadable)} items cannot be read and are left out: {listed(data.unreadable)}"
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
    findings += [found for found in (_copies_on_both_sides(data), _videos_on_both_sides(data)) if found]
    return findings + _contradictions(data)


def listed(unreadable: Mapping[str, str]) -> str:
    """The first five items and why they cannot be read."""
    shown = "; ".join(f"{item_id}: {why}" for item_id, why in list(unreadable.items())[:5])
    return shown + (f"; and {len(unreadable) - 5} more." if len(unreadable) > 5 else "")


def _counts(data: Data) -> list[int]:
    """Training items of every concept; for a detector, training boxes."""
    if data.order.needs_boxes:
        return box_counts([data.boxes_N[index] for index in data.train_indices], len(data.order.concepts))
    return data.targets_NK[data.train_indices].sum(axis=0).astype(int).tolist()


def _tiny_boxes(data: Data, size: int) -> Finding | None:
    """What the sizes of the boxes say of an image size; nothing where there are none."""
    records = [data.pack.records[row] for row in data.rows_N] if data.boxes_N else []
    return tiny_boxes(data.boxes_N, [framed_size(record.height, record.width, size) for record in records], size)


def _small_pictures(data: Data) -> Finding | None:
    """Pictures that are enlarged to image_size; nothing where a detector's boxes would be too small without."""
    size = data.order.image_size
    known = {index: min(native) for index, native in enumerate(data.native_sizes) if native}
    found = enlarged(list(known.values()), size)
    if found is None or (found.wanted and _tiny_boxes(data, found.wanted)):
        return None
    ids = tuple(data.items[index].id for index, shorter in known.items() if shorter < size)
    return Finding(
        kind="small_pictures", text=f"{found.num_pictures} of {len(known)} pictures {found.text}", item_ids=ids
    )


def _copies_on_both_sides(data: Data) -> Finding | None:
    """Held-out items of which a copy trains: where marks say so, or concepts that are kept out of the training."""
    trained = set(data.groups_N[data.train_indices].tolist())
    copies = [data.items[index].id for index in data.held_indices if int(data.groups_N[index]) in trained]
    if not copies:
        return None
    text = (
        f"{len(copies)} of {data.num_held_out} held-out items are near-copies of training items ({_first(copies)}): "
        "the held-out figures will be too good. Mark copies alike, or delete them."
    )
    return Finding(kind="copies_on_both_sides", text=text, item_ids=tuple(copies))


def _videos_on_both_sides(data: Data) -> Finding | None:
    """Held-out frames of videos that train: of too few videos none can be held out whole, or marks say so."""
    unseen = set(data.unseen)
    videos = [item.of_video.sha256 if item.of_video else "" for item in data.items]
    trained = {videos[index] for index in data.train_indices} - {""}
    held = [
        index for index in data.held_indices if videos[index] in trained and not data.items[index].positives & unseen
    ]
    if not held:
        return None
    is_marked = any(item.split == "test" for item in data.items)
    why = "as they are marked" if is_marked else "as there are too few videos to hold out whole ones"
    what = "Mark whole videos" if is_marked else "Annotate more videos, or mark whole ones to test with"
    count = len({videos[index] for index in held})
    text = (
        f"Of {count} {'video' if count == 1 else 'videos'} some frames train and others are held out, {why}: "
        f"{len(held)} of {data.num_held_out} held-out items resemble what trains, and the held-out figures will be too "
        f"good. {what}."
    )
    return Finding(kind="videos_on_both_sides", text=text, item_ids=tuple(data.items[index].id for index in held))


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
    return findings[:MAX_CONTRADICTIONS]


def _first(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5]) + ", …" * (len(ids) > 5)
