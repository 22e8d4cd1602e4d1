"""What a person sees of a training: percent, time left, lines."""

from __future__ import annotations

from lehr.learn.events import EpochEnded, Noted, Preparing, Stepped
from lehr.learn.progress import Progress


def stepped(step: int) -> Stepped:
    return Stepped(
        step=step, num_steps=10, epoch=1, num_epochs=2, lr=0.1, num_items=8, loss_tensor=None, state=lambda: None
    )


def test_time_left_follows_the_measured_pace() -> None:
    now = [0.0]
    progress = Progress(clock=lambda: now[0])
    assert progress.update(stepped(1)).seconds_left is None
    now[0] = 3.0
    line = progress.update(stepped(2))
    assert (line.percent, line.seconds_left, line.text) == (20, 24, None)


def test_time_left_is_known_with_one_step_an_epoch_and_counts_the_evaluations() -> None:
    now = [0.0]
    progress = Progress(clock=lambda: now[0])
    for step in (1, 2, 3):
        now[0] += 1.0
        progress.update(stepped(step))
        now[0] += 4.0
        line = progress.update(ended(step))
    assert line.seconds_left == 35


def ended(step: int) -> EpochEnded:
    return EpochEnded(
        epoch=step,
        num_epochs=10,
        step=step,
        num_steps=10,
        lr=0.1,
        train_loss=0.5,
        metrics={"accuracy": 0.75},
        seconds=2.0,
        state=lambda: None,
    )


def test_an_epoch_leaves_a_line_and_the_last_one_is_not_yet_all() -> None:
    line = Progress().update(ended(10))
    assert line.percent == 99
    assert line.text == "epoch 10/10  loss 0.5000  held out: accuracy 0.7500  lr 0.1  2.0 s"


def test_long_preparations_are_told_in_quarters() -> None:
    progress = Progress()
    told = [progress.update(Preparing(stage="computing features", done=done, total=100)).text for done in range(101)]
    assert [text for text in told if text] == [f"computing features: {done} of 100" for done in (0, 25, 50, 75, 100)]
    assert progress.update(Noted(text="Mind this.")).text == "Mind this."
