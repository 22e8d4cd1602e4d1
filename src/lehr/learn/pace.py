"""How fast a kind of training goes on a machine, and what that comes to for a number of items. Arithmetic; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from lehr.learn.data.sampler import epoch_batches


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds that parts of a training take, as measured by `lehr.learn.probe`. A step takes longer with every item."""

    step_seconds: float
    """Of a step, whatever its size."""
    item_seconds: float
    """More for each item of the step."""
    prepare_seconds: float
    """Building the network and giving it its first weights."""
    feature_seconds: float
    """Per picture: features of a frozen base, or of one whose head is solved first; else 0."""
    judge_seconds: float
    """Per held-out item, for the figures between epochs."""
    evaluate_seconds: float
    """Per held-out item, for the evaluation after the last epoch."""
    write_seconds: float
    """Writing the model in its serving form."""
    decode_seconds: float
    """Reading one picture of 1280 x 960 pixels in one process."""
    peak_bytes: int
    """Memory that a step takes at its most, beyond what the idle process takes."""
    item_bytes: int = 0
    """Of it, what every item of the step needs at least."""
    fixed_bytes: int = 0
    """And what is needed whatever the size of the step."""
    is_on_gpu: bool = False
    """Whose memory that is; else this machine's."""
    solve_seconds: float = 0.0
    """Per training item: solving a head that is not trained in steps; else 0."""
    start_seconds: float = 0.0
    """Starting a process and loading the libraries."""

    def to_json(self) -> dict[str, Any]:
        """Field by field."""
        return asdict(self)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Pace:
        """The opposite. Raises KeyError, TypeError or ValueError for what it never wrote."""
        kinds = {"float": float, "int": int, "bool": bool}
        return cls(**{field.name: kinds[str(field.type)](facts[field.name]) for field in fields(cls)})


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a training has to do."""

    num_train: int
    num_held_out: int
    batch_size: int
    num_epochs: int
    num_items_per_epoch: int = 0
    """0: as many as there are training items."""
    test_freq: int = 1
    """Epochs between evaluations; 0: only after the last."""
    decode_seconds: float = 0.0
    """Per picture; pictures that were packed before cost nothing, but that is not known beforehand."""

    @property
    def num_items(self) -> int:
        """Items of an epoch."""
        return self.num_items_per_epoch or self.num_train

    @property
    def num_judged(self) -> int:
        """Epochs after which the held-out items are looked at; the last always is one."""
        return self.num_epochs // self.test_freq + (self.num_epochs % self.test_freq > 0) if self.test_freq else 1


def seconds_of(pace: Pace, work: Work) -> float:
    """Steps x epochs x step, plus packing, features, evaluations and everything that is done once."""
    batches = epoch_batches(work.num_items, work.batch_size)
    epoch = len(batches) * pace.step_seconds + batches.num_items * pace.item_seconds
    num_items = work.num_train + work.num_held_out
    evaluations = work.num_held_out * (work.num_judged * pace.judge_seconds + pace.evaluate_seconds)
    once = pace.start_seconds + pace.prepare_seconds + pace.write_seconds + work.num_train * pace.solve_seconds
    return once + num_items * (work.decode_seconds + pace.feature_seconds) + work.num_epochs * epoch + evaluations
