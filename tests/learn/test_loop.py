"""The loop's promises: it learns, it stops anywhere and goes on bit for bit, and the knobs do what they say."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lehr.errors import TrainingStopped
from lehr.learn.checkpoint import CheckpointDamaged, State, load, save
from lehr.learn.data.dataset import Data
from lehr.learn.evaluate import evaluate
from lehr.learn.events import EpochEnded, Event, Noted, Stepped
from lehr.learn.loop import train, trained_net

SCRIPT = Path(__file__).with_name("small_trainings.py")
_spec = importlib.util.spec_from_file_location("small_trainings", SCRIPT)
assert _spec
assert _spec.loader
small_trainings = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small_trainings)
recipe_of = small_trainings.recipe_of


@pytest.fixture(scope="module")
def data(digits_folder: Path, packs_folder: Path) -> Data:
    return small_trainings.data_of(digits_folder, packs_folder)


@pytest.fixture(scope="module")
def uninterrupted(data: Data) -> State:
    return last_state(train(recipe_of(data), data))


def last_state(events: object) -> State:
    for event in events:  # type: ignore[attr-defined]
        if isinstance(event, EpochEnded) and event.epoch == event.num_epochs:
            return event.state()
    raise AssertionError("the training did not end")


def assert_same_bits(one: State, other: State) -> None:
    assert one.facts["history"] == other.facts["history"]
    assert one.tensors.keys() == other.tensors.keys()
    for name, value in one.tensors.items():
        assert torch.equal(value, other.tensors[name]), name


def states_at(data: Data, stops: dict[type[Event], set[int]]) -> list[State]:
    """States of the given steps and ends of epochs, from one run."""
    found = []
    for event in train(recipe_of(data), data):
        number = event.step if isinstance(event, Stepped) else getattr(event, "epoch", 0)
        if number in stops.get(type(event), ()):
            found.append(load(save(event.state())))
    return found


def test_stopping_at_any_event_and_resuming_gives_the_same_weights(data: Data, uninterrupted: State) -> None:
    steps_per_epoch = uninterrupted.facts["step"] // 2
    stops = {Stepped: {1, 3, steps_per_epoch, steps_per_epoch + 2}, EpochEnded: {1}}
    states = states_at(data, stops)
    assert len(states) == 5
    for state in states:
        assert_same_bits(last_state(train(recipe_of(data), data, state)), uninterrupted)


@pytest.mark.parametrize(
    "kind", ["classifier", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("detector", "embedder"))]
)
def test_a_killed_process_is_continued_by_another_bit_for_bit(
    kind: str, digits_folder: Path, packs_folder: Path, tmp_path: Path
) -> None:
    command = [sys.executable, str(SCRIPT), kind, str(digits_folder), str(packs_folder), str(tmp_path)]
    with subprocess.Popen([*command, "3"], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert any(json.loads(line).get("step") == 3 for line in child.stdout)
        child.kill()
    done = subprocess.run([*command, "0"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[0]) == {"resumed_at": 3}
    resumed = load((tmp_path / small_trainings.CHECKPOINT).read_bytes())
    assert_same_bits(resumed, last_state(train(*small_trainings.KINDS[kind](digits_folder, packs_folder))))


def test_a_checkpoint_of_another_training_is_refused(data: Data, uninterrupted: State) -> None:
    with pytest.raises(TrainingStopped, match="hyperparameters"):
        next(iter(train(recipe_of(data, seed=1), data, uninterrupted)))


def test_a_damaged_checkpoint_is_never_read(uninterrupted: State) -> None:
    whole = save(uninterrupted)
    for damaged in (whole[:-1], whole[: len(whole) // 2], b"", whole[:200] + b"\0" + whole[201:]):
        with pytest.raises(CheckpointDamaged):
            load(damaged)


def test_other_threads_are_announced(data: Data) -> None:
    (state,) = states_at(data, {Stepped: {1}})
    first = next(iter(train(recipe_of(data, threads=1), data, state)))
    torch.set_num_threads(2)
    assert isinstance(first, Noted)
    assert "threads was 2, is 1" in first.text


def test_three_ways_to_give_the_rate_give_equal_weights(data: Data) -> None:
    ways = ({"lrate": 0.064}, {"per_item_lrate": 0.002}, {"per_128_lrate": 0.256})
    states = [last_state(train(recipe_of(data, num_epochs=1, **way), data)) for way in ways]
    for state in states[1:]:
        for name, value in states[0].part("net").items():
            torch.testing.assert_close(value, state.part("net")[name], rtol=1e-5, atol=1e-6)


def test_the_step_size_moves_at_the_right_epochs(data: Data) -> None:
    recipe = recipe_of(data, num_epochs=6, init_epochs=2, step_epochs=3, lrate=0.1, lrate_decay=0.5)
    assert [round(recipe.descent.lrate * recipe.schedule(epoch), 6) for epoch in range(6)] == [
        0.1,
        0.1,
        0.05,
        0.05,
        0.05,
        0.025,
    ]
    seen = {event.epoch: event.lr for event in train(recipe, data) if isinstance(event, EpochEnded)}
    assert seen == pytest.approx({1: 0.1, 2: 0.1, 3: 0.05, 4: 0.05, 5: 0.05, 6: 0.025})


@pytest.mark.parametrize(("num_items", "sizes"), [(20, [16, 4]), (18, [16]), (150, [16] * 9 + [6])])
def test_an_epoch_takes_as_many_items_as_it_is_told(data: Data, num_items: int, sizes: list[int]) -> None:
    assert 20 < data.num_train < 170, "fewer than there are, and as many as there are and some of them again"
    recipe = recipe_of(data, num_items_per_epoch=num_items, batch_size=16)
    stepped = [event for event in train(recipe, data) if isinstance(event, Stepped)]
    assert [event.num_items for event in stepped] == sizes * 2
    assert [event.epoch for event in stepped] == [1] * len(sizes) + [2] * len(sizes)
    assert {event.num_steps for event in stepped} == {2 * len(sizes)}


@pytest.mark.parametrize(("test_freq", "judged"), [(0, [5]), (2, [2, 4, 5]), (1, [1, 2, 3, 4, 5]), (7, [5])])
def test_the_held_out_items_are_looked_at_every_so_many_epochs_and_at_the_end(
    data: Data, test_freq: int, judged: list[int]
) -> None:
    recipe = recipe_of(data, num_epochs=5, num_items_per_epoch=8, batch_size=8, test_freq=test_freq)
    ends = [event for event in train(recipe, data) if isinstance(event, EpochEnded)]
    assert [end.epoch for end in ends if end.metrics] == judged


def test_softmax_probabilities_sum_to_one_and_sigmoid_ones_need_not(data: Data) -> None:
    for logreg, close in ((0, True), (1, False)):
        recipe = recipe_of(data, logreg=logreg)
        evaluation = evaluate(recipe, data, last_state(train(recipe, data)))
        sums = np.array([sum(row.probabilities) for row in evaluation.rows])
        assert bool(np.allclose(sums, 1.0, atol=1e-4)) is close


def test_a_concept_without_positives_is_predicted_near_zero(digits_folder: Path, packs_folder: Path) -> None:
    data = small_trainings.data_of(digits_folder, packs_folder)
    targets = np.concatenate([data.targets_NK, np.zeros((len(data.items), 1), np.float32)], axis=1)
    order = replace(data.order, concepts=(*data.order.concepts, "unicorn"))
    data = replace(data, targets_NK=targets, order=order)
    recipe = recipe_of(data, num_epochs=3)
    rows = evaluate(recipe, data, last_state(train(recipe, data))).rows
    assert max(row.probabilities[-1] for row in rows) < 0.1


def test_a_diverging_training_says_so(data: Data) -> None:
    with pytest.raises(TrainingStopped, match="diverged"):
        list(train(recipe_of(data, lrate=1e30, num_epochs=5), data))


def test_a_rate_of_zero_changes_no_weight(data: Data) -> None:
    recipe = recipe_of(data, lrate=0.0, num_epochs=1)
    states = [event.state() for event in train(recipe, data) if isinstance(event, Stepped)]
    weights = [
        {
            name: value
            for name, value in state.part("net").items()
            if "running" not in name and "num_batches" not in name
        }
        for state in states
    ]
    assert all(torch.equal(weights[0][name], weights[-1][name]) for name in weights[0])


@pytest.mark.slow
def test_it_learns_the_digits(digits_folder: Path, packs_folder: Path) -> None:
    data = small_trainings.data_of(digits_folder, packs_folder, every=1)
    recipe = recipe_of(data, width_multiplier=0.25, num_epochs=8, batch_size=128, average_horizontal_flips=False)
    evaluation = evaluate(recipe, data, last_state(train(recipe, data)))
    assert evaluation.num_items > 300
    assert evaluation.top1_accuracy is not None
    assert evaluation.top1_accuracy >= 0.97


def test_trained_weights_come_back_from_their_state(data: Data, uninterrupted: State) -> None:
    net = trained_net(recipe_of(data), data, uninterrupted)
    assert all(torch.equal(value, uninterrupted.part("net")[name]) for name, value in net.state_dict().items())
