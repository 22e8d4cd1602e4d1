"""Every template on a published network learns, from random weights, what three kinds of digits look like."""

from __future__ import annotations

from pathlib import Path

import pytest
from learning import Lesson, data_for, learned, recipe_for, some_digits

CLASSIFIER, EMBEDDER = "visual-classifier", "visual-embedder"
LIGHT = {"model_cfg": "inception_batchnorm"}
ANGULAR = {"embeddings_size": 64}
PARAMS = {"image_size": 32, "batch_size": 16, "num_epochs": 2, "lrate": 0.02, "inference_crop_type": "center"}


def lesson_of(name: str, model_type: str, digits: Path, packs: Path, **params: object) -> Lesson:
    given = {**PARAMS, **params}
    items = some_digits(digits, every=int(str(given.pop("every", 4))), only="012")
    data = data_for(name, model_type, items, packs, **given)
    return learned(recipe_for(name, model_type, data, **given), data)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "params", "accuracy"),
    [
        ("Clarifai_InceptionBatchNorm", {}, 0.6),
        ("classification_basemodel_v1", LIGHT, 0.6),
        ("Clarifai_ResNext", {}, 0.6),
        ("Clarifai_InceptionV2", {}, 0.6),
        ("Clarifai_InceptionResnetV2", {}, 0.6),
        ("Clarifai_InceptionTransferEmbedNorm", {"image_size": 64, "average_horizontal_flips": False}, 0.8),
    ],
)
def test_a_classifier_learns(
    name: str, params: dict[str, object], accuracy: float, digits: Path, packs: Path, tmp_path: Path
) -> None:
    lesson = lesson_of(name, CLASSIFIER, digits, packs, logreg=0, **params)
    assert lesson.metrics["accuracy"] >= accuracy, "a chance of 0.33"
    bundle = lesson.written(tmp_path / "model")
    assert bundle.serving["form"] == "openvino"
    assert bundle.metrics["top1_accuracy"] == pytest.approx(lesson.metrics["accuracy"], abs=0.12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "params", "map_at_r"),
    [
        ("Clarifai_InceptionBatchNorm", {"logreg": 0}, 0.55),
        ("Clarifai_ResNext", {"logreg": 0, "num_epochs": 4, "every": 2}, 0.65),
        ("classification_basemodel_v1_embed", {"logreg": 0, **LIGHT}, 0.55),
        ("Clarifai_ResNet_AngularMargin", ANGULAR, 0.6),
        ("classification_angular_margin_embed", {**ANGULAR, **LIGHT}, 0.55),
    ],
)
def test_an_embedder_learns(
    name: str, params: dict[str, object], map_at_r: float, digits: Path, packs: Path, tmp_path: Path
) -> None:
    lesson = lesson_of(name, EMBEDDER, digits, packs, **params)
    assert lesson.metrics["map_at_r"] >= map_at_r, "a chance of 0.33"
    bundle = lesson.written(tmp_path / "model")
    assert bundle.output == "embedding"
    assert bundle.metrics["num_queries"] == lesson.data.num_held_out
