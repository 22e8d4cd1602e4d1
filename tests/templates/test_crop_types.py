"""What inference_crop_type looks at: of a wide picture the middle, both ends, or all of it at once."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from learning import Lesson, data_for, learned, recipe_for, some_digits
from PIL import Image

from lehr.errors import InvalidParams
from lehr.hyperparameters import parse
from lehr.learn.bundle import Bundle, read_bundle
from lehr.learn.data.decode import decode
from lehr.learn.exports import program, writing
from lehr.learn.exports.writing import ExportOrder, write_export
from lehr.learn.items import Item
from lehr.learn.predictor import Predictor
from lehr.learn.preprocessing import Preprocessing, views_of
from lehr.learn.views import averaged
from lehr.templates import CATALOGUE, find

TYPE, NAME = "visual-classifier", "classification_cifar10_v1"
PARAMS = {"width_multiplier": 0.25, "num_epochs": 4, "batch_size": 32, "logreg": 0}
KINDS = "0123"
SIDE = 32


def widened(item: Item, place: int, num_places: int) -> Item:
    """A test item: the digit at one of the places of a black strip, one digit high."""
    digit = decode(item.read(), shorter_side=8).pixels
    strip = np.zeros((8, 8 * num_places, 3), np.uint8)
    strip[:, 8 * place : 8 * place + 8] = digit
    file = io.BytesIO()
    Image.fromarray(strip).save(file, "PNG")
    name = f"{item.id} at {place} of {num_places}"
    return replace(item, id=name, sha256=f"{hash(name) & (2**64 - 1):064x}", read=file.getvalue, split="test")


@pytest.fixture(scope="module")
def items(digits: Path) -> list[Item]:
    """Square digits to train on; and to judge by, digits at either end of strips of two shapes."""
    known = some_digits(digits, every=3, only=KINDS)
    strips = [widened(item, place, n) for item in known[::12] for n in (3, 4) for place in (0, n - 1)]
    return [*(replace(item, split="train") for number, item in enumerate(known) if number % 12), *strips]


@pytest.fixture(scope="module")
def lesson(items: list[Item], packs: Path) -> Lesson:
    data = data_for(NAME, TYPE, items, packs, **PARAMS)
    return learned(recipe_for(NAME, TYPE, data, inference_crop_type="full", **PARAMS), data)


@pytest.fixture(scope="module")
def model(lesson: Lesson, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return lesson.written(tmp_path_factory.mktemp("models") / "full")


def seen_as(lesson: Lesson, crop_type: str) -> Lesson:
    """The same weights, looking at something else: training does not depend on it."""
    params = {**PARAMS, "inference_crop_type": crop_type}
    return replace(lesson, recipe=recipe_for(NAME, TYPE, lesson.data, **params))


def accuracy(lesson: Lesson) -> float:
    return float(lesson.evaluated().summary()["top1_accuracy"])


def test_what_is_at_one_end_is_recognised_in_full_and_not_in_the_center(lesson: Lesson) -> None:
    """Measured: 0.85 in full (trained on squares alone), 0.25 in the center, which is black, and is chance."""
    assert accuracy(lesson) >= 0.7
    assert accuracy(seen_as(lesson, "center")) <= 0.4


def test_every_way_of_answering_sees_the_whole_picture(model: Bundle, lesson: Lesson, tmp_path: Path) -> None:
    pixels = [lesson.data.pack.pixels(row) for row in lesson.data.rows_N[lesson.data.held_indices[:7]]]
    assert len({picture.shape for picture in pixels}) == 2, "several shapes in one call"
    served = Predictor.load(model.folder, "cpu")
    assert served.form.startswith("openvino")
    bare = tmp_path / "bare"
    bare.mkdir()
    sheet = dict(model.details) | {"serving": {"form": "torch", "precision": "f32", "difference": {}}}
    (bare / "model.json").write_text(json.dumps(sheet))
    (bare / "model.safetensors").write_bytes((model.folder / "model.safetensors").read_bytes())
    expected = naive(lesson, pixels)
    for predictor in (served, Predictor.load(bare, "cpu")):
        np.testing.assert_allclose(predictor.predict(pixels), expected, atol=0.05)
        one_by_one = [predictor.predict([picture])[0] for picture in pixels]
        np.testing.assert_allclose(predictor.predict(pixels), one_by_one, atol=0.01)


def naive(lesson: Lesson, pixels: list[np.ndarray]) -> list[np.ndarray]:
    """The network itself on one whole picture after another."""
    from lehr.learn.loop import trained_net

    net, before = trained_net(lesson.recipe, lesson.data, lesson.state).eval().float(), lesson.recipe.preprocessing
    found = []
    for picture in pixels:
        x_1CHW = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
        x_1CHW = (x_1CHW - before.mean[0]) / before.std[0]
        with torch.inference_mode():
            found.append(torch.softmax(net(x_1CHW), 1)[0].numpy())
    return found


def test_an_export_sees_the_whole_picture_too(
    model: Bundle, items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strips = items[-4:]
    order = ExportOrder(
        bundle=model,
        labels=[{"id": concept, "name": concept} for concept in model.concepts],
        about={"model_id": "m", "version_id": "v", "name": "Mine"},
        detection_threshold=0.0,
        pictures={item.id: decode(item.read(), shorter_side=SIDE).pixels for item in strips},
        are_real=True,
    )
    sheet = write_export(order, tmp_path)
    assert sheet["comparison"]["from_trained"]["largest"] <= 0.002
    assert sheet["preprocessing"]["views"] == [{"position": 0.5, "is_mirrored": False, "is_whole": True}]
    assert "Give all of it" in (tmp_path / "README.md").read_text()
    alone = program.Model(tmp_path, program.openvino_network(tmp_path / "model.onnx"))
    for item in strips:
        [best, *_] = alone.predict(io.BytesIO(item.read()))["concepts"]
        assert {best["id"]} == item.positives

    bare = tmp_path / "bare"  # a model that is served by torch has no ONNX file: it is written now, for any size too
    bare.mkdir()
    monkeypatch.setattr(writing, "_sign", lambda path, sheet: None)
    writing._export_anew(model, bare)
    anew = program.Model(tmp_path, program.openvino_network(bare / "model.onnx"))
    assert anew.predict(io.BytesIO(strips[0].read())) == alone.predict(io.BytesIO(strips[0].read()))


def test_mirror_images_are_whole_too_and_strips_are_squeezed() -> None:
    before = Preprocessing(image_size=SIDE, side=24, views=views_of("full", are_mirrored=True))
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, 50, 3), dtype=np.uint8)
    original, mirror = before.crops(picture)
    np.testing.assert_array_equal(original, picture)
    np.testing.assert_array_equal(mirror, picture[:, ::-1])
    assert before.crops(np.zeros((2, 900, 3), np.uint8)).shape == (2, SIDE, 4 * SIDE, 3)
    assert Preprocessing.from_json(json.loads(json.dumps(before.to_json()))) == before
    sheet = {"shorter_side": SIDE, "crop_side": 24, "max_aspect": 4.0, "views": before.to_json()["views"]}
    for shape in ((2, 900, 3), (40, 33, 3), (SIDE, 50, 3)):
        pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
        np.testing.assert_array_equal(np.stack(list(program.views(pixels, sheet))), before.crops(pixels))


def test_pictures_of_one_size_are_answered_together_and_larger_ones_fewer_at_a_time() -> None:
    calls: list[tuple[int, ...]] = []

    def run(views_NHWC: np.ndarray) -> np.ndarray:
        calls.append(views_NHWC.shape[:3])
        return views_NHWC.reshape(len(views_NHWC), -1, 3).mean(1).astype(np.float32)

    rng = np.random.default_rng(0)
    shapes = [(8, 8), (8, 24), (8, 8), (24, 8), (8, 24), (8, 8), (8, 24)]
    pictures = [rng.integers(0, 256, (2, *shape, 3), dtype=np.uint8) for shape in shapes]
    found = averaged(run, pictures, chunk=6)
    np.testing.assert_allclose(found, [picture.mean((0, 1, 2)) for picture in pictures], rtol=1e-5)
    assert calls == [(6, 8, 8), (2, 8, 24), (2, 8, 24), (2, 8, 24), (2, 24, 8)]


@pytest.mark.parametrize("name", ["Lehr_Lite", pytest.param("Clarifai_InceptionBatchNorm", marks=pytest.mark.slow)])
def test_networks_with_uneven_padding_are_served_at_every_size(
    name: str, digits: Path, packs: Path, tmp_path: Path
) -> None:
    """TensorFlow's padding depends on a picture's size: a graph that keeps that of one size is wrong at others."""
    params = {"image_size": 48, "num_epochs": 1, "batch_size": 16, "inference_crop_type": "full"}
    some = some_digits(digits, every=30)
    data = data_for(name, TYPE, some, packs, **params)
    bundle = learned(recipe_for(name, TYPE, data, **params), data).written(tmp_path / "model")
    assert bundle.serving["form"] == "openvino", bundle.serving
    assert read_bundle(bundle.folder).preprocessing.are_whole


def test_it_is_advertised_and_checked() -> None:
    with_knob = [template for template in CATALOGUE if "inference_crop_type" in template.form.model_fields]
    assert {template.model_type for template in with_knob} == {"visual-classifier", "visual-embedder"}
    for template in with_knob:
        assert parse(template.form, {"inference_crop_type": "full"}).form.inference_crop_type == "full"
    with pytest.raises(InvalidParams, match=r"sorta2.*center.*full"):
        parse(find(TYPE, NAME).form, {"inference_crop_type": "half"})
