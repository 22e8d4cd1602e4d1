"""What a form says is what its recipe does; no network is trained here."""

from __future__ import annotations

from pathlib import Path

import pytest
from learning import data_for, recipe_for, some_digits

from lehr.learn.data.dataset import Data

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
