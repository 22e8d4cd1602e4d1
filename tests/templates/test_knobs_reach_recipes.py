"""What a form says is what its recipe does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from learning import data_for, recipe_for, some_digits

from lehr.learn.data.dataset import Data
from lehr.learn.events import Stepped
from lehr.learn.loop import train

CIFAR = ("classification_cifar10_v1", "visual-classifier")
TRANSFER = ("Clarifai_InceptionTransferEmbedNorm", "visual-classifier")
LITE = ("Lehr_Lite", "visual-classifier")


@pytest.fixture(scope="module")
def data(digits: Path, packs: Path) -> Data:
    return data_for(*CIFAR, some_digits(digits, every=20), packs)


@pytest.mark.parametrize(
    ("template", "given", "rates"),
    [
        (CIFAR, {"step_epochs": 2}, [1, 1, 0.5, 0.5, 0.25, 0.25]),
        (CIFAR, {"init_epochs": 4}, [1, 1, 1, 1, 0.5, 0.5]),
        (TRANSFER, {"step_epochs": 2}, [1, 1, 0.5, 0.5, 0.25, 0.25]),
        (TRANSFER, {}, [1, 1, 1, 1, 1, 1]),
        (LITE, {}, [1, 1, 1, 0.5, 0.25, 0.125]),
        (LITE, {"step_epochs": 2}, [1, 1, 1, 0.5, 0.5, 0.25]),
    ],
)
def test_the_rate_drops_as_the_form_says(
    data: Data, template: tuple[str, str], given: dict[str, int], rates: list[float]
) -> None:
    recipe = recipe_for(*template, data, num_epochs=6, lrate_decay=0.5, **given)
    assert [recipe.schedule(epoch) for epoch in range(6)] == rates


NETWORK = {"image_size": 32, "model_cfg": "inception_batchnorm"}
TUNED = {"image_size": 32, "base_gradient_multiplier": 0.5}


@pytest.mark.parametrize(
    ("template", "params"),
    [
        (CIFAR, {}),
        (LITE, TUNED),
        (("classification_basemodel_v1", "visual-classifier"), NETWORK),
        (("classification_basemodel_v1_embed", "visual-embedder"), NETWORK),
        (("classification_angular_margin_embed", "visual-embedder"), NETWORK),
    ],
)
@pytest.mark.parametrize(
    ("given", "probability", "mirrored"),
    [
        ({}, 0.0, False),
        ({"average_horizontal_flips": True}, 0.5, True),
        ({"average_horizontal_flips": True, "flip_probability": 0.0}, 0.0, True),
        ({"flip_probability": 0.25}, 0.25, False),
    ],
)
def test_mirroring_is_for_crops_in_training_and_views_at_prediction(
    data: Data,
    template: tuple[str, str],
    params: dict[str, object],
    given: dict[str, object],
    probability: float,
    mirrored: bool,
) -> None:
    recipe = recipe_for(*template, data, **params, **given)
    begun = recipe.begin(recipe, data, False)
    assert _result(begun).augmentation.flip_probability == probability
    looks = {(view.position, view.is_mirrored) for view in recipe.preprocessing.views}
    assert looks == {(position, is_it) for position in (0.0, 1.0) for is_it in {False, mirrored}}


def _result(preparation: object) -> object:
    while True:
        try:
            next(preparation)  # type: ignore[call-overload]
        except StopIteration as end:
            return end.value


def test_base_gradient_multiplier_scales_the_steps_of_the_base_and_of_nothing_else(data: Data) -> None:
    def first_step(**params: object) -> dict[str, torch.Tensor]:
        recipe = recipe_for(*LITE, data, **{**TUNED, "batch_size": 8, **params})
        weights = next(event.state().part("net") for event in train(recipe, data) if isinstance(event, Stepped))
        return {name: value.double() for name, value in weights.items() if name in trained}

    net = _result((recipe := recipe_for(*LITE, data, **TUNED)).begin(recipe, data, False)).net  # type: ignore[attr-defined]
    trained = {name for name, _ in net.named_parameters()}
    still = first_step(lrate=0.0)
    half, whole = first_step(lrate=0.1), first_step(lrate=0.1, base_gradient_multiplier=1.0)
    for part, share in (("base.", 0.5), ("", 1.0)):
        names = [name for name in trained if name.startswith("base.") == bool(part)]
        steps = [torch.cat([(each[name] - still[name]).flatten() for name in names]) for each in (half, whole)]
        assert steps[1].norm() > 0
        assert (steps[0] - share * steps[1]).norm() < 1e-2 * steps[1].norm()


@pytest.mark.parametrize("template", [CIFAR, LITE, TRANSFER, ("classification_basemodel_v1", "visual-classifier")])
def test_counts_and_draws_of_the_form_are_those_of_the_recipe(data: Data, template: tuple[str, str]) -> None:
    given = {"balanced_sampling": True, "num_items_per_epoch": 7, "test_freq": 3, "batch_size": 5, "num_epochs": 4}
    recipe = recipe_for(*template, data, **given)
    told = {name: getattr(recipe, name) for name in given if name != "balanced_sampling"}
    assert {"balanced_sampling": recipe.is_balanced, **told} == given
    assert not recipe_for(*template, data).is_balanced
