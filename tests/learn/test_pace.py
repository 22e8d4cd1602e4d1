"""What a pace comes to, against the same sum done step by step; and that it survives being written down."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lehr.learn.data.sampler import epoch_batches
from lehr.learn.pace import Pace, Work, seconds_of

PACE = Pace(
    step_seconds=0.5,
    item_seconds=0.01,
    prepare_seconds=3,
    feature_seconds=0.2,
    judge_seconds=0.03,
    evaluate_seconds=0.07,
    write_seconds=11,
    decode_seconds=0.02,
    peak_bytes=123,
    item_bytes=7,
    fixed_bytes=11,
    is_on_gpu=True,
    solve_seconds=0.05,
    start_seconds=2,
)
WORK = Work(num_train=100, num_held_out=20, batch_size=32, num_epochs=7, test_freq=3, decode_seconds=0.004)


def counted_step_by_step(pace: Pace, work: Work) -> float:
    total = pace.start_seconds + pace.prepare_seconds
    for _ in range(work.num_train + work.num_held_out):
        total += work.decode_seconds + pace.feature_seconds
    for _ in range(work.num_train):
        total += pace.solve_seconds
    for epoch in range(1, work.num_epochs + 1):
        for size in epoch_batches(work.num_items_per_epoch or work.num_train, work.batch_size):
            total += pace.step_seconds + size * pace.item_seconds
        if epoch == work.num_epochs or (work.test_freq and epoch % work.test_freq == 0):
            total += work.num_held_out * pace.judge_seconds
    return total + work.num_held_out * pace.evaluate_seconds + pace.write_seconds


@pytest.mark.parametrize("test_freq", [0, 1, 3, 7, 50])
@pytest.mark.parametrize("num_items_per_epoch", [0, 10, 500])
def test_an_estimate_is_the_sum_of_everything_that_is_done(test_freq: int, num_items_per_epoch: int) -> None:
    work = replace(WORK, test_freq=test_freq, num_items_per_epoch=num_items_per_epoch)
    assert seconds_of(PACE, work) == pytest.approx(counted_step_by_step(PACE, work))


def test_a_pace_is_read_as_it_was_written_and_nothing_else_is() -> None:
    assert Pace.from_json(PACE.to_json()) == PACE
    with pytest.raises(KeyError):
        Pace.from_json({"step_seconds": 1})
