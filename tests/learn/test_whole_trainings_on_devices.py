"""A training on a device from its first step to its answers, which are those of the CPU form of the same weights."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lehr.learn.bundle import Bundle, write_bundle
from lehr.learn.checkpoint import State, load, save
from lehr.learn.data.dataset import Data
from lehr.learn.detection.found import boxes_in
from lehr.learn.device import choose_device
from lehr.learn.evaluate import evaluate
from lehr.learn.events import Noted, Stepped
from lehr.learn.exports.comparing import agreement, exact_predictor
from lehr.learn.loop import train
from lehr.learn.predictor import Predictor
from lehr.learn.recipe import Recipe
from lehr.learn.torch_predictor import load_with_torch

sys.path.insert(0, str(Path(__file__).parent))
from devices import DEVICES
from small_trainings import KINDS


def on(device: str, recipe: Recipe, precision: str) -> Recipe:
    """The recipe there; in bfloat16 only where the device computes it."""
    chosen = choose_device(device, 2)
    chosen = replace(chosen, is_bf16=chosen.is_bf16 and precision == "bf16")
    return replace(recipe, problem=replace(recipe.problem, device=chosen))


def run(recipe: Recipe, data: Data, resume: State | None = None) -> tuple[dict[int, State], float, list[str]]:
    """Up to the third step: states by step, as they come out of checkpoints; the last loss; what was noted."""
    states: dict[int, State] = {}
    noted: list[str] = []
    for event in train(recipe, data, resume):
        if isinstance(event, Noted):
            noted.append(event.text)
        if isinstance(event, Stepped):
            states[event.step] = load(save(event.state()))
            if event.step == 3:
                return states, event.loss, noted
    raise AssertionError("the training ended before")


def with_scores(state: State) -> State:
    """A detector whose boxes have scores on both sides of the threshold: after some steps all are near 0.01."""
    tensors = dict(state.tensors)
    for name, value in state.tensors.items():
        if name.startswith("net/") and "class_logits" in name:
            tensors[name] = value * 5 if name.endswith("weight") else torch.full_like(value, -2.5)
    assert len(tensors) == len(state.tensors)
    return replace(state, tensors=tensors)


FURTHEST = {"f32": 0.02, "bf16": 0.25}
"""Distance of all answers from the expected ones, as a share of how much those vary from picture to picture. Of
float32's products a GPU keeps ten bits; in bfloat16, logits that hardly differ yet keep eight."""
SECONDS_ON_CPU = [("classifier", "f32"), ("classifier", "bf16"), ("detector", "f32")]
CASES = [
    pytest.param(
        kind,
        precision,
        device,
        marks=pytest.mark.slow if device == "cpu" and (kind, precision) not in SECONDS_ON_CPU else (),
        id=f"{kind} {precision} {device}",
    )
    if device == "cpu"
    else pytest.param(kind, precision, *device.values, marks=device.marks, id=f"{kind} {precision} {device.values[0]}")
    for kind in KINDS
    for precision in FURTHEST
    for device in DEVICES
]


def assert_same_answers(bundle: Bundle, found: list[np.ndarray], expected: list[np.ndarray], precision: str) -> None:
    if bundle.output == "detections":
        assert all(len(boxes_in(rows)) >= 5 for rows in expected), "without boxes nothing is compared"
        compared = agreement(bundle, found, expected, "bf16")
        assert compared.is_close, compared.figures
        return
    found_NK, expected_NK = np.stack(found), np.stack(expected)
    variation = float(np.linalg.norm(expected_NK - expected_NK.mean(axis=0)))
    assert variation > 1e-3, "all pictures alike would agree by themselves"
    apart = float(np.linalg.norm(found_NK - expected_NK)) / variation
    assert apart < FURTHEST[precision]


@pytest.mark.parametrize(("kind", "precision", "device"), CASES)
def test_two_steps_a_checkpoint_a_third_and_the_model_answers_as_its_cpu_form_does(
    kind: str, precision: str, device: str, digits_folder: Path, packs_folder: Path, tmp_path: Path
) -> None:
    recipe, data = KINDS[kind](digits_folder, packs_folder)
    recipe = on(device, recipe, precision)
    states, expected_loss, _ = run(recipe, data)
    assert {tensor.device.type for tensor in states[2].tensors.values()} == {"cpu"}, "it can be read anywhere"
    resumed, loss, noted = run(recipe, data, states[2])
    assert list(resumed) == [3]
    assert not any("other circumstances" in text for text in noted)
    assert loss == pytest.approx(expected_loss, rel=0.02)
    changed = [name for name, value in states[2].tensors.items() if not torch.equal(value, resumed[3].tensors[name])]
    assert any(name.startswith("net/") for name in changed), "the third step was one"

    state = with_scores(resumed[3]) if recipe.output == "detections" else resumed[3]
    bundle = write_bundle(recipe, data, state, evaluate(recipe, data, state), tmp_path / "model")
    assert bundle.serving["form"] == "openvino", bundle.serving
    pictures = [data.pack.pixels(int(row)) for row in data.rows_N[data.held_indices[:6]]]
    here, on_cpu = load_with_torch(bundle, device, 2), Predictor.load(bundle.folder, "cpu")
    computed = bundle.serving["precision"] if device == "cpu" else recipe.problem.device.precision
    assert here.form == f"torch {device} {computed}"
    assert on_cpu.form.startswith("openvino")
    exact, served = exact_predictor(bundle).predict(pictures), here.predict(pictures)
    assert_same_answers(bundle, served, exact, computed)
    assert_same_answers(bundle, served, on_cpu.predict(pictures), "bf16")
    here.give_back()
    assert_same_answers(bundle, here.predict(pictures), served, "f32")
