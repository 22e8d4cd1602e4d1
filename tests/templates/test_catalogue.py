"""The catalogue is found under every spelling that clients have used, and offers the public fields."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lehr.errors import InvalidModel, InvalidParams
from lehr.hyperparameters import describe, parse
from lehr.learn.data.crops import Crops
from lehr.templates import CATALOGUE, classification_cifar10_v1, find, of_type

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


SIZES = {
    "image_size": (256, 32, 1024, 16),
    "batch_size": (64, 1, 128, 1),
    "init_epochs": (25, 1, 200, 1),
    "step_epochs": (7, 1, 200, 1),
    "num_epochs": (65, 1, 200, 1),
    "per_item_lrate": (7.8125e-05, 0, None, None),
    "num_items_per_epoch": (0, 0, 10_000_000, 1),
}
NETWORK = {**SIZES, "logreg": (1, 0, 1, 1)}
ANGULAR = {
    **SIZES,
    "angular_scale": (None, 16, 128, 16),
    "angular_margin": (None, 0.1, 0.9, None),
    "embeddings_size": (512, 2, 4096, 1),
}
ONE_GPU = {"num_gpus": (1, 0, 1, 1)}
PUBLIC = {
    "visual-classifier": {
        "Clarifai_InceptionV2": NETWORK,
        "Clarifai_InceptionBatchNorm": NETWORK,
        "Clarifai_InceptionResnetV2": NETWORK,
        "Clarifai_ResNext": NETWORK,
        "classification_basemodel_v1": {**NETWORK, **ONE_GPU},
        "Clarifai_InceptionTransferEmbedNorm": {
            **ONE_GPU,
            "logreg": (1, 0, 1, 1),
            "image_size": (256, 32, 1024, 16),
            "batch_size": (128, 1, 128, 1),
            "lrate": (0.1, 0, None, None),
            "base_gradient_multiplier": (0.001, 0, 10, None),
            "num_epochs": (20, 1, 200, 1),
            "num_items_per_epoch": (0, 0, 10_000_000, 1),
            "average_horizontal_flips": (True, None, None, None),
        },
        "classification_cifar10_v1": {
            **ONE_GPU,
            "image_size": (32, 32, 1024, 16),
            "batch_size": (128, 1, 128, 1),
            "num_epochs": (10, 1, 200, 1),
        },
    },
    "visual-embedder": {
        "Clarifai_InceptionBatchNorm": NETWORK,
        "Clarifai_ResNext": NETWORK,
        "classification_basemodel_v1_embed": {**NETWORK, **ONE_GPU},
        "Clarifai_ResNet_AngularMargin": ANGULAR,
        "classification_angular_margin_embed": {**ANGULAR, **ONE_GPU},
    },
}
"""Of every knob that the public pages and templates describe: default, minimum, maximum, step. The bounds of counts
and of base_gradient_multiplier are ours, for nobody published any; num_epochs of the small network is ours too."""


@pytest.mark.parametrize(
    ("model_type", "name"), [(model_type, name) for model_type, names in PUBLIC.items() for name in names]
)
def test_the_public_knobs_have_their_public_defaults_and_ranges(model_type: str, name: str) -> None:
    knobs = {knob.name: knob for knob in describe(find(model_type, name).form)}
    public = PUBLIC[model_type][name]
    found = {each: (knob.default, knob.minimum, knob.maximum, knob.step) for each, knob in knobs.items()}
    assert {each: found[each] for each in public} == public


@pytest.mark.parametrize(
    ("name", "accepted", "refused"),
    [
        ("classification_cifar10_v1", {"num_gpus": 1, "inference_crop_type": "sorta2"}, {"num_gpus": 2}),
        ("classification_basemodel_v1", {"num_gpus": 0, "preinit": "general-v1.5"}, {"model_cfg": "resnet9000"}),
        (
            "Clarifai_InceptionTransferEmbedNorm",
            {"embeddings_layer": "mod5B.concat", "num_gpus": 1.0, "inference_crop_type": "full"},
            {"embeddings_layer": "mod4E.concat"},
        ),
        ("Clarifai_ResNext", {"inference_crop_type": "center"}, {"inference_crop_type": "sorta3"}),
    ],
)
def test_what_old_clients_send_along_is_accepted_as_advertised(
    name: str, accepted: dict[str, object], refused: dict[str, object]
) -> None:
    form = find("visual-classifier", name).form
    assert parse(form, accepted).form.model_dump(include=set(accepted)) == accepted
    with pytest.raises(InvalidParams, match=next(iter(refused))):
        parse(form, refused)


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
