"""An exported model answers as ours does, by itself; and one that does not is never written."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from drawn_shapes import drawn
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "templates"))
sys.path.insert(0, str(Path(__file__).parents[1]))
from learning import data_for, learned, recipe_for, some_digits

from lehr.learn.bundle import Bundle, read_bundle
from lehr.learn.data.decode import decode
from lehr.learn.detection.found import boxes_in
from lehr.learn.exports import program, writing
from lehr.learn.exports.comparing import ExportDisagrees, agreement
from lehr.learn.exports.writing import ExportOrder, write_export
from lehr.learn.items import Item
from lehr.learn.predictor import Predictor

SMALL = {
    "visual-classifier": ("classification_cifar10_v1", {"width_multiplier": 0.125, "num_epochs": 1, "batch_size": 32}),
    "visual-embedder": ("Lehr_Lite", {"image_size": 48, "num_epochs": 1, "embeddings_size": 16}),
    "visual-detector": (
        "Lehr_Lite",
        {"image_size": 64, "num_epochs": 3, "batch_size": 4, "base_gradient_multiplier": 0},
    ),
    "embedding-classifier": ("embedding_classifier", {"image_size": 48}),
}


TYPES = [
    "visual-classifier",
    *(pytest.param(name, marks=pytest.mark.slow) for name in SMALL if name != "visual-classifier"),
]


@pytest.fixture(scope="module", params=TYPES)
def model(request, digits_folder, packs_folder, tmp_path_factory) -> tuple[Bundle, list[Item]]:
    """One small trained model of each type, and items of its data."""
    name, params = SMALL[request.param]
    items = drawn(30) if request.param == "visual-detector" else some_digits(digits_folder, every=20)
    data = data_for(name, request.param, _named(items), packs_folder, **params)
    lesson = learned(recipe_for(name, request.param, data, **params), data)
    return lesson.written(tmp_path_factory.mktemp("models") / request.param), items


def _named(items: list[Item]) -> list[Item]:
    """Items as they are; those with boxes name the concepts of their boxes, which is how a folder lists concepts."""
    return [replace(i, positives=i.positives | {box.concept for box in i.boxes}) for i in items]


def order_of(bundle: Bundle, items: list[Item], **changes) -> ExportOrder:
    side = bundle.preprocessing.image_size
    fields = {
        "bundle": bundle,
        "labels": [{"id": concept, "name": concept.upper()} for concept in bundle.concepts],
        "about": {"model_id": "m", "version_id": "v", "name": "Mine"},
        "detection_threshold": 0.06,
        "pictures": {item.id: decode(item.read(), shorter_side=side).pixels for item in items[:6]},
        "are_real": True,
    }
    return ExportOrder(**{**fields, **changes})


def test_the_program_in_the_folder_answers_as_we_do_without_us(model, tmp_path) -> None:
    bundle, items = model
    folder = tmp_path / "out"
    folder.mkdir()
    sheet = write_export(order_of(bundle, items), folder)
    assert {path.name for path in folder.iterdir()} == {
        "model.onnx", "model.safetensors", "model.json", "labels.json", "predict.py", "README.md",
    }  # fmt: skip
    assert sheet["comparison"]["from_trained"]["largest"] <= 0.002
    assert sheet["comparison"]["pictures"] == [item.id for item in items[:6]]
    kept = {prop.key: json.loads(prop.value) for prop in onnx.load(folder / "model.onnx").metadata_props}
    assert kept["comparison"] == sheet["comparison"] == json.loads((folder / "model.json").read_text())["comparison"]

    (tmp_path / "picture.png").write_bytes(items[7].read())
    ran = subprocess.run(
        [sys.executable, "-I", str(folder / "predict.py"), str(tmp_path / "picture.png")],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    told = json.loads(ran.stdout)
    pixels = decode(items[7].read(), shorter_side=bundle.preprocessing.image_size).pixels
    [ours] = Predictor.load(bundle.folder, "cpu").predict([pixels])
    if bundle.output == "embedding":
        np.testing.assert_allclose(told["embedding"], ours, atol=0.05)
    elif bundle.output == "detections":
        shown = [row for row in boxes_in(ours) if row[4] > 0.06]
        assert shown, "a test without any box would show nothing"
        first, best = told["regions"][0], shown[0]
        assert [first["box"][side] for side in ("top", "left", "bottom", "right")] == pytest.approx(best[:4], abs=0.05)
        assert (first["id"], first["name"]) == (bundle.concepts[int(best[5])], bundle.concepts[int(best[5])].upper())
    else:
        values = {concept["id"]: concept["value"] for concept in told["concepts"]}
        np.testing.assert_allclose([values[concept] for concept in bundle.concepts], ours, atol=0.05)


def test_a_network_that_is_not_ours_is_not_exported(model, tmp_path, monkeypatch) -> None:
    bundle, items = model
    real = program.openvino_network

    def other(path):
        run = real(path)
        return lambda pixels: [output[..., ::-1].copy() + 0.5 for output in run(pixels)]

    monkeypatch.setattr(program, "openvino_network", other)
    with pytest.raises(ExportDisagrees, match="does not answer as the trained model does on 6 pictures"):
        write_export(order_of(bundle, items), tmp_path)


def test_a_model_that_is_served_by_torch_is_written_as_onnx_now(model, tmp_path, monkeypatch) -> None:
    bundle, items = model
    bare = tmp_path / "bare"
    bare.mkdir()
    sheet = dict(bundle.details) | {"serving": {"form": "torch", "precision": "f32", "difference": {}}}
    (bare / "model.json").write_text(json.dumps(sheet))
    (bare / "model.safetensors").write_bytes((bundle.folder / "model.safetensors").read_bytes())
    out = tmp_path / "out"
    out.mkdir()
    found = write_export(order_of(read_bundle(bare), items), out)
    assert found["comparison"]["from_served"]["form"] == "torch cpu f32"
    assert not list(out.glob("openvino*"))

    with pytest.raises(ExportDisagrees, match="Models that give clusters are not exported"):
        write_export(order_of(replace(bundle, output="clusters"), items), out)
    monkeypatch.setattr(writing, "_export_anew", lambda *_: 1 / 0)
    with pytest.raises(ExportDisagrees, match="cannot be written as ONNX: ZeroDivisionError"):
        write_export(order_of(read_bundle(bare), items), out)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


NOISE = np.random.default_rng(0).integers(0, 256, (150, 230, 4), dtype=np.uint8)
FILES = {
    "jpeg": saved(Image.fromarray(NOISE[..., :3]), "JPEG"),
    "large jpeg": saved(Image.fromarray(np.kron(NOISE[..., :3], np.ones((9, 9, 1), np.uint8))), "JPEG"),
    **{f"turned {n}": saved(Image.fromarray(NOISE[..., :3]), "JPEG", exif=exif(n)) for n in (2, 5, 6, 8)},
    "transparent": saved(Image.fromarray(NOISE), "PNG"),
    "grey": saved(Image.fromarray(NOISE[..., 0]), "PNG"),
    "deep grey": saved(Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257), "PNG"),
    "palette": saved(Image.fromarray(NOISE[..., :3]).convert("P"), "GIF"),
    "print colours": saved(Image.fromarray(NOISE).convert("RGB").convert("CMYK"), "JPEG"),
    "very long": saved(Image.fromarray(NOISE[:20, :, :3]), "PNG"),
    "very small": saved(Image.fromarray(NOISE[:9, :8, :3]), "PNG"),
}


@pytest.mark.parametrize("name", FILES)
def test_the_program_opens_pictures_as_the_server_does(name) -> None:
    ours = decode(FILES[name], shorter_side=48).pixels
    np.testing.assert_array_equal(program.opened(io.BytesIO(FILES[name]), 48), ours)


def test_boxes_agree_when_each_has_its_counterpart() -> None:
    bundle = type("Detector", (), {"output": "detections"})
    one = np.array([[0.1, 0.1, 0.5, 0.5, 0.9, 0], [0.2, 0.2, 0.4, 0.4, 0.05, 1]], np.float32)
    same, moved, other_class = one.copy(), one.copy(), one.copy()
    same[0, 4] -= 0.001
    moved[0, :4] += 0.05
    other_class[0, 5] = 1
    assert agreement(bundle, [same], [one], "f32").is_close
    assert agreement(bundle, [same], [one], "f32").figures["boxes"] == 1, "the improbable box is not counted"
    for wrong in (moved, other_class, one[1:], np.concatenate([one, moved])):
        assert not agreement(bundle, [wrong], [one], "f32").is_close
    assert agreement(bundle, [one[:0]], [one[:0]], "f32").is_close
