"""`lehr train` on data sets as they lie on disks: what is read, what is refused, and that a detector learns from it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "stories"))
from drawn_shapes import CONCEPTS, HEIGHT, WIDTH, drawn
from test_formats import MAKERS, make_yolo, picture

from lehr import cli
from lehr.errors import InvalidInput
from lehr.imports import FORMATS
from lehr.imports.training import items_in
from lehr.learn.bundle import read_bundle
from lehr.learn.device import choose_device
from lehr.learn.items import Box
from lehr.learn.offline import predict_files


def make_shapes(folder: Path, count: int) -> None:
    """Drawn shapes as COCO keeps them: one file of boxes in pixels beside a folder of pictures."""
    images, annotations = [], []
    (folder / "pictures").mkdir(parents=True)
    for number, item in enumerate(drawn(count)):
        (folder / "pictures" / f"{number}.png").write_bytes(item.read())
        images.append({"id": number, "file_name": f"pictures/{number}.png", "width": WIDTH, "height": HEIGHT})
        for box in item.boxes:
            left, top = box.left * WIDTH, box.top * HEIGHT
            sides = [left, top, box.right * WIDTH - left, box.bottom * HEIGHT - top]
            label = CONCEPTS.index(box.concept)
            annotations.append({"id": len(annotations), "image_id": number, "category_id": label, "bbox": sides})
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": number, "name": name} for number, name in enumerate(CONCEPTS)]
    (folder / "boxes.json").write_text(json.dumps(content))


@pytest.mark.parametrize("name", MAKERS)
def test_boxes_of_every_format_are_boxes_of_items(name, tmp_path):
    MAKERS[name](tmp_path)
    said: list[str] = []
    items = {Path(item.id).name: item for item in items_in(tmp_path, say=said.append)}
    assert said[0] == f"{tmp_path}: {name}, 2 pictures"
    boxes = {box.concept: box for box in items["a.jpg"].boxes}
    assert set(boxes) == {"dog", "cat"}
    dog = Box(concept="dog", left=0.25, top=0.25, right=0.75, bottom=0.75)
    assert vars(boxes["dog"]) == pytest.approx(vars(dog)) if name != "voc" else boxes["dog"].left == 0.25
    assert (items["b.jpg"].boxes, items["a.jpg"].split) == ((), "train")
    assert items["a.jpg"].read() == next(tmp_path.rglob("a.jpg")).read_bytes()


def test_what_would_be_lost_is_told_and_refused_unless_that_is_wanted(tmp_path):
    make_yolo(tmp_path, "7 0.5 0.5 0.5 0.5\n1 0.5 0.5 0.5 0.5\n")
    said: list[str] = []
    with pytest.raises(InvalidInput, match="mend what is marked"):
        items_in(tmp_path, say=said.append)
    assert any(line.startswith("  ! 1 lines name a class") for line in said), said
    items = items_in(tmp_path, with_errors=True, say=said.append)
    assert [[box.concept for box in item.boxes] for item in items] == [["dog"], []]


def train(*arguments: object) -> int:
    return cli.main(["train", "--template", "Lehr_Lite", *map(str, arguments)])


def test_pictures_that_say_too_little_for_what_is_wanted_are_refused_with_a_sentence(tmp_path, capsys):
    make_yolo(tmp_path / "boxed")
    assert train("--data", tmp_path / "boxed", "--out", tmp_path / "model") == 1
    assert "No picture of 2 in" in (said := capsys.readouterr().err)
    assert "train a visual-detector" in said
    picture(tmp_path / "labelled/cat/1.jpg")
    detector = ("--model-type", "visual-detector")
    assert train(*detector, "--data", tmp_path / "labelled", "--out", tmp_path / "model") == 1
    assert "holds 1 pictures and no box" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_the_command_line_names_the_formats_that_there_are():
    assert [each.name for each in FORMATS] == list(cli._FORMATS)


@pytest.mark.slow
def test_a_detector_is_trained_from_a_folder_and_finds_things(tmp_path, capsys, monkeypatch):
    """Measured: mAP 0.97 at IoU 0.5 on the held-out fifth, 17 s on busy cores."""
    monkeypatch.setenv("LEHR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LEHR_PRECISION", "auto")
    make_shapes(tmp_path / "shapes", 60)
    given = ("image_size=128", "num_epochs=8", "batch_size=4", "base_gradient_multiplier=0", "flip_probability=0.5")
    out = tmp_path / "model"
    assert train("--model-type", "visual-detector", "--data", tmp_path / "shapes", "--out", out, *given) == 0
    assert "held-out mean average precision at IoU 0.5 0." in capsys.readouterr().out
    assert read_bundle(out).metrics["map_50"] >= 0.7
    assert len(list((tmp_path / "home/cache").glob("precision/*.json"))) == choose_device("cpu").is_bf16
    [found] = predict_files(out, [tmp_path / "shapes/pictures/0.png"])
    assert set(dict(found.concepts)) & set(CONCEPTS)
