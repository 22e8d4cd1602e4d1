"""A model trained by our own code, served by a predictor process."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from lehr import hyperparameters, templates
from lehr.learn.offline import FolderOrder, train_folder
from lehr.learn.predictor import Predictor
from lehr.serving.predictors import Predictors


@pytest.fixture
def trained(tmp_path):
    digits = load_digits()
    for number, (image, digit) in enumerate(zip(digits.images[:60] * 15.9, digits.target[:60] % 2, strict=True)):
        folder = tmp_path / "data" / ("odd" if digit else "even")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.astype(np.uint8)).save(folder / f"{number}.png")
    template = templates.find("visual-classifier", "classification_cifar10_v1")
    form, _ = hyperparameters.parse(template.form, {"num_epochs": 1})
    order = FolderOrder(data=tmp_path / "data", out=tmp_path / "model", cache=tmp_path / "cache", device="cpu")
    train_folder(template, form, order, say=lambda text: None)
    return tmp_path / "model"


@pytest.mark.slow
def test_a_trained_model_answers_through_its_process_as_it_does_here_and_without_torch(trained, eventually):
    model = Predictor.load(trained, device="cpu")
    pictures = list(np.random.default_rng(0).integers(0, 255, (20, 32, 40, 3), np.uint8))
    with Predictors(1) as predictors:
        eventually(predictors.ready)
        outputs = predictors.predict(trained, pictures)
        np.testing.assert_allclose(outputs, model.predict(pictures), atol=0.02)
        if model.form.startswith("openvino"):
            assert not predictors.stats()[0]["has_torch"]
