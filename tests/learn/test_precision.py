"""bfloat16 or float32: what ten steps decide, what is remembered, and that a training once begun goes on alike."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lehr.learn import precision
from lehr.learn.checkpoint import State
from lehr.learn.data.dataset import Data
from lehr.learn.events import EpochEnded, Noted, Stepped
from lehr.learn.loop import train
from lehr.learn.precision import Precision
from lehr.learn.recipe import Recipe

sys.path.insert(0, str(Path(__file__).parent))
from small_trainings import KINDS, data_of, recipe_of


@pytest.fixture(scope="module")
def data(digits_folder: Path, packs_folder: Path) -> Data:
    return data_of(digits_folder, packs_folder)


@pytest.fixture
def recipe(data: Data) -> Recipe:
    return on_bf16(recipe_of(data))


Pair = tuple[float, float]


def on_bf16(recipe: Recipe) -> Recipe:
    """On hardware that has bfloat16, or computes as if."""
    return replace(recipe, problem=replace(recipe.problem, device=replace(recipe.problem.device, is_bf16=True)))


def told(monkeypatch: pytest.MonkeyPatch, bf16: float, f32: float) -> list[str]:
    """Steps take so long; in which precisions steps were taken."""
    taken: list[str] = []

    def seconds(recipe: Recipe, *rest: object) -> float:
        taken.append(recipe.problem.device.precision)
        return bf16 if recipe.problem.device.is_bf16 else f32

    monkeypatch.setattr(precision, "_step_seconds", seconds)
    return taken


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [((0.10, 0.05), "f32"), ((0.10, 0.095), "bf16"), ((0.05, 0.10), "bf16"), ((0.001, 0.0001), "bf16")],
    ids=["slower", "nearly equal", "faster", "too short to tell"],
)
def test_float32_is_taken_where_it_is_clearly_faster_and_remembered(
    recipe: Recipe,
    data: Data,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: tuple[float, float],
    chosen: str,
) -> None:
    taken = told(monkeypatch, *seconds)
    asked = Precision(folder=tmp_path / "measured")
    assert asked.foreseen(recipe).problem.device.precision == "bf16"
    decided = asked.decided(recipe, data)
    assert decided.problem.device.precision == chosen
    assert ("Computed in float32: a step took 0.05 s" in " ".join(decided.notices)) == (chosen == "f32")
    again = Precision(folder=tmp_path / "measured")
    assert again.decided(recipe, data).problem.device.precision == chosen
    assert again.foreseen(recipe).problem.device.precision == chosen
    assert taken == ["bf16", "f32"]
    other = replace(recipe, net=replace(recipe.net, arguments={**recipe.net.arguments, "width_multiplier": 2.0}))
    again.decided(other, data)
    assert len(taken) == 4, "another network is measured by itself"


def test_the_setting_and_hardware_without_bfloat16_measure_nothing(
    recipe: Recipe, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = told(monkeypatch, 0.1, 0.01)
    for choice in ("bf16", "f32"):
        asked = Precision(choice=choice, folder=tmp_path)
        assert asked.decided(recipe, data).problem.device.precision == choice
        assert asked.foreseen(recipe).problem.device.precision == choice
    plain = replace(recipe, problem=replace(recipe.problem, device=replace(recipe.problem.device, is_bf16=False)))
    assert Precision(folder=tmp_path).decided(plain, data) is plain
    assert taken == []


@pytest.mark.parametrize("kind", KINDS)
def test_ten_real_steps_are_measured_and_change_nothing(
    kind: str, digits_folder: Path, packs_folder: Path, tmp_path: Path
) -> None:
    recipe, data = KINDS[kind](digits_folder, packs_folder)
    recipe = on_bf16(recipe)
    before = first_weights(recipe, data)
    told_steps = []
    decided = Precision(folder=tmp_path).decided(recipe, data, on_step=lambda *step: told_steps.append(step))
    assert told_steps == [(done, 10) for done in range(11)]
    [remembered] = tmp_path.iterdir()
    assert all(0 < seconds < 60 for seconds in json.loads(remembered.read_text()).values())
    assert decided.problem.device.precision in ("bf16", "f32")
    for name, value in first_weights(recipe, data).items():
        assert torch.equal(value, before[name]), name


def test_what_is_resumed_goes_on_in_the_precision_that_it_began_with(
    recipe: Recipe, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(monkeypatch, 0.1, 0.01)
    began = Precision(folder=tmp_path).decided(recipe, data)
    states = [event.state() for event in train(began, data) if isinstance(event, Stepped | EpochEnded)]
    told(monkeypatch, 0.01, 0.1)
    elsewhere = Precision(folder=tmp_path / "another machine")
    assert elsewhere.decided(recipe, data).problem.device.precision == "bf16"
    resumed = elsewhere.decided(recipe, data, states[1])
    assert resumed.problem.device.precision == "f32"
    events = list(train(resumed, data, states[1]))
    assert not [event.text for event in events if isinstance(event, Noted)]
    assert_same_weights(events[-1].state(), states[-1])
    [noted] = [event.text for event in train(recipe, data, states[-2]) if isinstance(event, Noted)]
    assert "precision was f32, is bf16" in noted


def first_weights(recipe: Recipe, data: Data) -> dict[str, torch.Tensor]:
    """After one step."""
    event = next(event for event in train(recipe, data) if isinstance(event, Stepped))
    return event.state().part("net")


def assert_same_weights(one: State, other: State) -> None:
    for name, value in one.part("net").items():
        assert torch.equal(value, other.part("net")[name]), name
