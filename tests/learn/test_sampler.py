"""The stream of items: shuffled, endless, resumable, fair."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lehr.learn.data.sampler import Stream, epoch_batches
from lehr.learn.schedule import Steps, Triangle, WarmedUp, default_decay, facts_of


def test_short_epochs_starve_no_item() -> None:
    stream = Stream(num_items=10, seed=0)
    epochs = [stream.rows(4 * epoch, 4) for epoch in range(5)]
    assert Counter(np.concatenate(epochs).tolist()) == dict.fromkeys(range(10), 2)


def test_any_position_can_be_reached_at_once() -> None:
    stream = Stream(num_items=7, seed=3)
    whole = stream.rows(0, 50)
    assert np.array_equal(np.concatenate([stream.rows(start, 5) for start in range(0, 50, 5)]), whole)
    assert not np.array_equal(whole[:7], whole[7:14])
    assert np.array_equal(Stream(num_items=7, seed=3).rows(20, 30), whole[20:])


def test_balanced_passes_draw_equally_from_every_group() -> None:
    groups = (tuple(range(90)), tuple(range(90, 99)), (99,))
    rows = Stream(num_items=100, seed=0, balanced_groups=groups).rows(0, 3000)
    drawn = [np.isin(rows, group).mean() for group in groups]
    assert np.allclose(drawn, 1 / 3, atol=0.02)


def test_an_epoch_is_cut_into_batches_without_tiny_ones() -> None:
    def sizes(num_items: int) -> list[int]:
        batches = epoch_batches(num_items, 128)
        assert (len([*batches]), sum(batches)) == (len(batches), batches.num_items)
        return [*batches]

    assert sizes(256) == [128, 128]
    assert sizes(300) == [128, 128, 44]
    assert sizes(288) == [128, 128, 32]
    assert sizes(287) == [128, 128]
    assert sizes(5) == [5]


def test_an_epoch_of_any_length_takes_no_memory() -> None:
    batches = epoch_batches(10**15 + 1, 3)
    assert (len(batches), batches.num_items) == ((10**15 + 2) // 3, 10**15 + 1)
    assert [batches[0], batches[len(batches) - 1]] == [3, 2]


def test_the_default_decay_never_ends_below_a_thousandth() -> None:
    assert default_decay(65, 25, 7) == 10**-0.5
    assert default_decay(2, 25, 7) == 0.1
    assert default_decay(40, 25, 7) == 0.1
    schedule = Steps(init_epochs=25, step_epochs=7, decay=default_decay(65, 25, 7))
    assert schedule(64) >= 0.999e-3
    assert [schedule(24), schedule(25)] == [1.0, 10**-0.5]


def test_a_schedule_says_what_it_came_to() -> None:
    steps = Steps.over(65, init=25, step=7, decay=None)
    assert facts_of(steps) == {"name": "Steps", "init_epochs": 25, "step_epochs": 7, "decay": 10**-0.5}
    assert facts_of(WarmedUp(schedule=steps, epochs=0.5)) == {
        "name": "WarmedUp",
        "epochs": 0.5,
        "schedule": facts_of(steps),
    }


def test_the_triangle_climbs_and_falls() -> None:
    schedule = Triangle(num_epochs=10)
    assert schedule(0) == 0.2
    assert abs(schedule(2.3) - 1.0) < 1e-9
    assert abs(schedule(10) - 0.07) < 1e-9


@pytest.mark.parametrize(
    ("given", "rates"),
    [
        ({"init": 2, "step": 3}, [1, 1, 0.5, 0.5, 0.5, 0.25]),
        ({"init": None, "step": 2}, [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ({"init": 4, "step": None}, [1, 1, 1, 1, 0.5, 0.5]),
        ({"init": None, "step": None}, [1, 1, 1, 1, 1, 1]),
    ],
)
def test_what_is_not_said_of_the_drops_follows_from_what_is(given: dict[str, int | None], rates: list[float]) -> None:
    schedule = Steps.over(6, **given, decay=0.5)
    assert [schedule(epoch) for epoch in range(6)] == rates
    assert Steps.over(6, **given, decay=None).decay == default_decay(6, schedule.init_epochs, schedule.step_epochs)
