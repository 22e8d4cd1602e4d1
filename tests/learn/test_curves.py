"""The points that a training leaves for its curves."""

from __future__ import annotations

import math

from lehr.learn.curves import MOST_POINTS, Curves
from lehr.learn.events import EpochEnded, Stepped


def stepped(step: int, num_steps: int, loss: float, num_items: int = 8) -> Stepped:
    return Stepped(
        step=step,
        num_steps=num_steps,
        epoch=1,
        num_epochs=2,
        lr=0.1,
        num_items=num_items,
        loss_tensor=loss,
        state=lambda: None,
    )


def ended(loss: float, metrics: dict[str, float] | None = None) -> EpochEnded:
    return EpochEnded(
        epoch=1,
        num_epochs=2,
        step=4,
        num_steps=8,
        lr=0.1,
        train_loss=loss,
        metrics=metrics,
        seconds=2,
        state=lambda: None,
    )


def test_every_step_of_a_short_run_is_a_point_with_its_speed():
    now = [0.0]
    curves = Curves(clock=lambda: now[0])
    for step in (1, 2, 3):
        now[0] += 0.5
        curves.update(stepped(step, 8, loss=1 / step))
    assert [(p["step"], p["epoch"], p["loss"]) for p in curves.take()] == [
        (1, 0.25, 1),
        (2, 0.5, 0.5),
        (3, 0.75, 1 / 3),
    ]
    curves.update(stepped(4, 8, loss=0))
    assert [point["items_per_second"] for point in curves.take() if "items_per_second" in point] == []
    now[0] += 2
    curves.update(stepped(5, 8, loss=0))
    assert [point["items_per_second"] for point in curves.take()] == [4]
    assert curves.take() == []


def test_a_long_run_has_means_over_several_steps_and_no_more_points_than_can_be_drawn():
    num_steps, num_points, losses = 2 * MOST_POINTS + 500, 0, []
    curves = Curves()
    for step in range(1, num_steps + 1):
        curves.update(stepped(step, num_steps, loss=float(step), num_items=2 if step % 2 else 4))
        points = curves.take()
        num_points += len(points)
        losses += [point["loss"] for point in points]
    assert num_points <= MOST_POINTS
    assert losses[0] == (1 * 2 + 2 * 4 + 3 * 2) / 8
    assert num_steps - 3 < losses[-1] <= num_steps


def test_an_epoch_tells_its_figures_and_what_is_not_finite_is_left_open():
    curves = Curves()
    curves.update(ended(0.5, {"accuracy": 0.9}))
    curves.update(ended(math.nan))
    first, second = curves.take()
    assert (first["kind"], first["train_loss"], first["metrics"]) == ("epoch", 0.5, {"accuracy": 0.9})
    assert (second["train_loss"], second["metrics"]) == (None, {})
