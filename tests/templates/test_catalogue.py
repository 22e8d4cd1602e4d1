"""The catalogue is found under every spelling that clients have used, and offers the public fields."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lehr.errors import InvalidModel
from lehr.hyperparameters import describe, parse
from lehr.learn.data.crops import Crops
from lehr.templates import CATALOGUE, classification_cifar10_v1, find, of_type
from lehr.templates.classification_cifar10_v1 import Cifar10Form

SEED_PAGE = {
    "average_horizontal_flips",
    "base_gradient_multiplier",
    "batch_size",
    "detection_score_threshold",
    "image_size",
    "init_epochs",
    "logreg",
    "lrate",
    "num_epochs",
    "num_items_per_epoch",
    "per_128_lrate",
    "per_item_lrate",
    "step_epochs",
    "test_freq",
    "use_perclass_regression",
}


@pytest.mark.parametrize(
    "spelling", ["classification_cifar10_v1", "Classification-Cifar10-V1", "Clarifai_classification_cifar10_v1"]
)
def test_a_template_is_found_under_its_spellings(spelling: str) -> None:
    assert find("visual-classifier", spelling).name == "classification_cifar10_v1"
    assert find("visual-classifier", "lehr-lite").name == "Lehr_Lite"


def test_an_unknown_template_is_refused_with_what_there_is() -> None:
    with pytest.raises(InvalidModel, match=r"no template 'ResNet9000' for visual-classifier; there are: .*Lehr_Lite"):
        find("visual-classifier", "ResNet9000")
    with pytest.raises(InvalidModel, match="visual-classifier"):
        find("poetry-writer", "Lehr_Lite")


def test_names_are_unique_within_a_type_and_every_template_states_its_result() -> None:
    for template in CATALOGUE:
        assert sum(other.name == template.name for other in of_type(template.model_type)) == 1
        assert template.description
        assert template.when
        assert template.measured


@pytest.mark.parametrize("template", of_type("visual-classifier"), ids=lambda template: template.name)
def test_classifiers_know_every_knob_of_the_first_page(template: object) -> None:
    form = template.form  # type: ignore[attr-defined]
    assert set(form.model_fields) | set(form.meaningless) >= SEED_PAGE


def test_the_small_network_offers_the_public_ranges() -> None:
    knobs = {knob.name: knob for knob in describe(Cifar10Form)}
    public = {"image_size": (32, 32, 1024, 16), "batch_size": (128, 1, 128, 1), "num_epochs": (10, 1, 200, 1)}
    for name, expected in public.items():
        knob = knobs[name]
        assert (knob.default, knob.minimum, knob.maximum, knob.step) == expected
    assert knobs["inference_crop_type"].default == "sorta2"


@pytest.mark.parametrize(
    ("size", "shape"), [(32, (5000, 32)), (64, (1250, 64)), (128, (312, 128)), (256, (312, 128)), (1024, (312, 128))]
)
def test_the_first_layer_is_whitened_by_as_many_pixels_at_every_image_size(size: int, shape: tuple[int, int]) -> None:
    asked: list[Crops] = []

    def cut(crops: Crops) -> torch.Tensor:
        asked.append(crops)
        return torch.zeros(1, 3, 2, 2)

    template = find("visual-classifier", "classification_cifar10_v1")
    form = parse(template.form, {"image_size": size}).form
    problem = SimpleNamespace(concepts=["a", "b"], positives=[1, 1], num_items=2)
    data = SimpleNamespace(
        pack=SimpleNamespace(records=[(size, 2 * size)]), rows_N=np.zeros(6000, int), train_indices=np.arange(6000)
    )
    learner = SimpleNamespace(data=data, recipe=template.recipe(form, problem), images=SimpleNamespace(crops=cut))
    net = SimpleNamespace(whiten_by=lambda x: None, head=torch.nn.Linear(4, 2))
    assert [event.done for event in classification_cifar10_v1._whiten(net, learner)] == [0, 1]
    [crops] = asked
    assert (len(crops.rows_B), crops.side) == shape
    middle = ((size - shape[1]) // 2, (2 * size - shape[1]) // 2)
    assert (crops.top_B[0], crops.left_B[0]) == middle
