"""Model folders and what answers from them: whole or absent, alike in every form, without torch where promised."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from films import film
from PIL import Image

from lehr.errors import InvalidInput, InvalidModel
from lehr.hyperparameters import parse
from lehr.learn import bundle as bundles
from lehr.learn.bundle import BundleDamaged, read_bundle, read_evaluation, write_bundle
from lehr.learn.checkpoint import State
from lehr.learn.data.crops import View
from lehr.learn.data.dataset import Data
from lehr.learn.data.features import cached_features
from lehr.learn.data.images import Images
from lehr.learn.data.normalise import normalised
from lehr.learn.device import Device
from lehr.learn.evaluate import evaluate
from lehr.learn.events import EpochEnded, Noted
from lehr.learn.learners.pixels import PixelLearner
from lehr.learn.loop import train
from lehr.learn.nets.catalogue import build
from lehr.learn.offline import FolderOrder, Prediction, Unreadable, predict_files, train_folder
from lehr.learn.predictor import Predictor
from lehr.learn.recipe import Recipe
from lehr.learn.weights import BUILT_IN, load_pretrained
from lehr.protocol import resources_pb2
from lehr.protocol.structs import from_struct
from lehr.services.trained import describe_trained
from lehr.templates import find

sys.path.insert(0, str(Path(__file__).parent))
from small_trainings import data_of, recipe_of


@pytest.fixture(scope="module")
def data(digits_folder: Path, packs_folder: Path) -> Data:
    return data_of(digits_folder, packs_folder)


@pytest.fixture(scope="module")
def trained(data: Data) -> tuple[Recipe, State]:
    recipe = recipe_of(data, num_epochs=3)
    return recipe, [event.state() for event in train(recipe, data) if isinstance(event, EpochEnded)][-1]


@pytest.fixture(scope="module")
def model(data: Data, trained: tuple[Recipe, State], tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe, state = trained
    folder = tmp_path_factory.mktemp("models") / "digits"
    write_bundle(recipe, data, state, evaluate(recipe, data, state), folder)
    return folder


def held_out_pixels(data: Data) -> list[np.ndarray]:
    return [data.pack.pixels(row) for row in data.rows_N[data.held_indices]]


def test_a_model_folder_says_what_it_is(model: Path, data: Data) -> None:
    bundle, evaluation = read_bundle(model), read_evaluation(model)
    assert bundle.concepts == tuple("0123456789")
    assert evaluation
    assert bundle.metrics == evaluation.summary()
    assert set(bundle.thresholds) == set(bundle.concepts)
    assert [entry["epoch"] for entry in bundle.details["history"]] == [1, 2, 3]
    assert bundle.details["data"]["fingerprint"] == data.fingerprint
    assert bundle.serving["form"] == "openvino"
    version = resources_pb2.ModelVersion()
    describe_trained(version, bundle, evaluation, data, ["Rounded."])
    kept = from_struct(version.metadata)["lehr"]
    assert kept["lrate"] == pytest.approx(0.001465 * 32)  # type: ignore[index, call-overload]
    assert kept["schedule"]["name"] == "Triangle"  # type: ignore[index, call-overload]


def test_every_form_gives_the_same_answers(model: Path, data: Data) -> None:
    served, slow = Predictor.load(model, "cpu"), Predictor.load(_as_torch(model), "cpu")
    assert served.form.startswith("openvino")
    assert slow.form == "torch cpu f32"
    pictures = held_out_pixels(data)
    rows = [row.probabilities for row in read_evaluation(model).rows]  # type: ignore[union-attr]
    np.testing.assert_allclose(np.stack(served.predict(pictures)), np.stack(slow.predict(pictures)), atol=0.05)
    np.testing.assert_allclose(np.stack(slow.predict(pictures)), np.array(rows), atol=0.05)


def test_a_picture_is_answered_alike_alone_in_company_and_at_any_size(model: Path, data: Data) -> None:
    predictor = Predictor.load(model, "cpu")
    pictures = held_out_pixels(data)[:11]
    together = predictor.predict(pictures)
    for picture, answer in zip(pictures, together, strict=True):
        np.testing.assert_allclose(predictor.predict([picture])[0], answer, atol=0.01)
    enlarged = np.kron(pictures[0], np.ones((3, 3, 1), np.uint8))
    assert predictor.predict([enlarged])[0].argmax() == together[0].argmax()
    assert predictor.predict([]) == []


def test_several_lanes_give_the_same_answers_to_many_at_once(model: Path, data: Data) -> None:
    alone, wide = Predictor.load(model, "cpu"), Predictor.load(model, "cpu", lanes=2)
    assert wide.lanes == 2
    pictures = held_out_pixels(data)[:40]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(wide.predict, [pictures[start : start + 4] for start in range(0, 40, 4)] * 3))
    expected = np.stack(alone.predict(pictures))
    for start in (0, 10, 20):
        np.testing.assert_allclose(np.concatenate(found[start : start + 10]), expected, atol=0.02)


def test_predicting_imports_no_torch(model: Path) -> None:
    code = (
        "import sys; import numpy as np; from pathlib import Path; from lehr.learn.predictor import Predictor\n"
        f"predictor = Predictor.load(Path({str(model)!r}), 'cpu')\n"
        "assert predictor.predict([np.zeros((40, 50, 3), np.uint8)])[0].shape == (10,)\n"
        "assert 'torch' not in sys.modules and 'timm' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_openvino_form_that_computes_something_else_is_refused(
    data: Data, trained: tuple[Recipe, State], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(bundles.OpenvinoNet):
        def __call__(self, crops_NSSC: np.ndarray) -> np.ndarray:
            return super().__call__(crops_NSSC)[:, ::-1]

    monkeypatch.setattr(bundles, "OpenvinoNet", Wrong)
    bundle = write_bundle(*_swapped(trained, data), None, tmp_path / "wrong")
    assert bundle.serving["form"] == "torch"
    assert "differ too much" in bundle.serving["why"]
    assert not (tmp_path / "wrong" / "openvino.xml").exists()
    assert Predictor.load(tmp_path / "wrong", "cpu").form == "torch cpu f32"


def test_a_model_folder_appears_whole_or_not_at_all(
    data: Data, trained: tuple[Recipe, State], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(bundles, "_sync", fail)
    with pytest.raises(OSError, match="No space"):
        write_bundle(*_swapped(trained, data), None, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BundleDamaged, match="no model folder"):
        read_bundle(tmp_path / "model")


def test_a_folder_of_another_format_or_network_is_refused_with_a_sentence(model: Path, tmp_path: Path) -> None:
    details = json.loads((model / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(details | {"format": 99}))
    with pytest.raises(BundleDamaged, match="format 99"):
        Predictor.load(tmp_path)
    with pytest.raises(InvalidModel, match="this Lehr has: airbench"):
        build("perceptron", {})


def test_the_built_in_base_knows_a_real_photograph() -> None:
    import timm
    from sklearn.datasets import load_sample_image

    from lehr.learn.preprocessing import Preprocessing

    net = timm.create_model(BUILT_IN, pretrained=False).eval()
    provenance = load_pretrained(net, BUILT_IN)
    assert provenance.licence == "Apache-2.0"
    crops = Preprocessing(image_size=256, side=224).crops(load_sample_image("china.jpg"))
    with torch.inference_mode():
        x = normalised(torch.from_numpy(crops).permute(0, 3, 1, 2), Preprocessing(image_size=256, side=224))
        best = timm.data.ImageNetInfo().index_to_description(int(net(x).argmax()))
    assert best.split(",")[0] in {"palace", "stupa", "monastery", "bell cote", "boathouse"}


def test_cached_features_equal_direct_ones_and_are_computed_once(data: Data) -> None:
    device = Device(name="cpu", is_bf16=False, threads=2)
    preprocessing = recipe_of(data).preprocessing
    torch.manual_seed(0)
    base = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    first, events = _drained(cached_features(base, "a", data.pack, preprocessing, View(), device))
    again, later = _drained(cached_features(copy.deepcopy(base), "a", data.pack, preprocessing, View(), device))
    assert events
    assert not later, "the second time nothing is computed"
    rows = np.arange(len(data.pack.records))
    crops = Images(data.pack, device).crops(View().crops(data.pack, rows, preprocessing.side))
    with torch.inference_mode():
        direct = base(normalised(crops, preprocessing))
    torch.testing.assert_close(first.float(), direct, atol=2e-3, rtol=2e-3)
    assert torch.equal(first, again)
    mirrored, _ = _drained(cached_features(base, "a", data.pack, preprocessing, View(is_mirrored=True), device))
    assert not torch.equal(first, mirrored)
    base[0].stride = (1, 1)  # the same weights in a network with another stem
    sharper, events = _drained(cached_features(base, "a", data.pack, preprocessing, View(), device))
    assert events
    assert not torch.equal(first, sharper)


@pytest.mark.slow
def test_lite_learns_frozen_and_resumes_and_fine_tunes(data: Data, tmp_path: Path) -> None:
    small = data_of_size(data, tmp_path, 64)
    frozen = recipe_of(small, "Lehr_Lite", image_size=64, num_epochs=10)
    ends = [event for event in train(frozen, small) if isinstance(event, EpochEnded)]
    assert ends[-1].metrics
    assert ends[-1].metrics["accuracy"] > 0.6
    last = ends[-1].state()
    evaluation = evaluate(frozen, small, last)
    assert evaluation.top1_accuracy == pytest.approx(ends[-1].metrics["accuracy"], abs=0.06)
    tuned = recipe_of(small, "Lehr_Lite", image_size=64, num_epochs=2, base_gradient_multiplier=0.1, batch_size=16)
    events = list(train(tuned, small))
    assert any(isinstance(event, Noted) and "head alone" in event.text for event in events)
    tuned_end = [event for event in events if isinstance(event, EpochEnded)][-1]
    assert tuned_end.metrics
    assert tuned_end.metrics["accuracy"] > 0.6


@pytest.mark.slow
def test_a_folder_is_trained_and_its_pictures_predicted_without_a_server(
    digits_folder: Path, packs_folder: Path, tmp_path: Path
) -> None:
    template = find("visual-classifier", "classification_cifar10_v1")
    form = parse(template.form, {"width_multiplier": 0.25, "num_epochs": 6}).form
    order = FolderOrder(data=digits_folder, out=tmp_path / "model", cache=packs_folder)
    said: list[str] = []
    shown: list[str] = []
    bundle = train_folder(template, form, order, say=said.append, show=shown.append)
    assert bundle.metrics["top1_accuracy"] >= 0.97
    assert any("epoch 6/6" in line for line in said)
    assert any("left" in line for line in shown)
    (tmp_path / "no.png").write_text("no picture")
    pictures = sorted(digits_folder.glob("7/*.png"))[:20]
    *good, bad = predict_files(order.out, [*pictures, tmp_path / "no.png"])
    assert isinstance(bad, Unreadable)
    assert sum(isinstance(found, Prediction) and found.concepts[0][0] == "7" for found in good) >= 18
    moving = tmp_path / "digits.avi"
    moving.write_bytes(film([_enlarged(path) for path in pictures[:6]], fps=1, kind="AVI"))
    frames = [found for found in predict_files(order.out, [moving], sample_ms=1000) if isinstance(found, Prediction)]
    assert [frame.time_ms for frame in frames] == [500, 1500, 2500, 3500, 4500, 5500]
    assert sum(frame.concepts[0][0] == "7" for frame in frames) >= 5
    with pytest.raises(InvalidInput, match="1 or more; given 0"):
        list(predict_files(order.out, [moving], sample_ms=0))
    with pytest.raises(InvalidInput, match="exists already"):
        train_folder(template, form, order)


def test_small_batches_keep_the_statistics_of_norms(data: Data) -> None:
    recipe = recipe_of(data, batch_size=4, num_epochs=1, num_items_per_epoch=8)
    learner: PixelLearner = _drained(recipe.begin(recipe, data, True))[0]
    before = learner.net.groups[0].norm1.running_mean.clone()  # type: ignore[union-attr, index]
    learner.net.train()
    learner.loss(learner.draw(np.arange(4), np.random.default_rng(0)))
    assert torch.equal(before, learner.net.groups[0].norm1.running_mean)  # type: ignore[union-attr, index]


def _enlarged(path: Path) -> np.ndarray:
    """A digit large enough for a video codec."""
    return np.asarray(Image.open(path).convert("RGB").resize((128, 128), Image.Resampling.NEAREST))


def data_of_size(data: Data, folder: Path, image_size: int) -> Data:
    from dataclasses import replace

    from lehr.learn.data.dataset import build_data
    from lehr.learn.data.packs import Packs

    return build_data(replace(data.order, image_size=image_size), data.items, packs=Packs(folder))


def _drained(generator: object) -> tuple[object, list[object]]:
    """(result, events) of a generator that is run to its end."""
    events = []
    while True:
        try:
            events.append(next(generator))  # type: ignore[call-overload]
        except StopIteration as end:
            return end.value, events


def _swapped(trained: tuple[Recipe, State], data: Data) -> tuple[Recipe, Data, State]:
    recipe, state = trained
    return recipe, data, state


def _as_torch(model: Path) -> Path:
    """The same model folder, said to be served by torch."""
    folder = model.with_name(f"{model.name}-torch")
    if not folder.exists():
        folder.mkdir()
        details = json.loads((model / "model.json").read_text())
        details["serving"] = {"form": "torch", "precision": "f32"}
        (folder / "model.json").write_text(json.dumps(details))
        (folder / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    return folder
