"""Data sets as they lie on disks: each format found by itself, read whole, and what is wrong with it told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lehr.errors import InvalidRequest
from lehr.imports import FORMATS, format_of
from lehr.imports.findings import Findings
from lehr.imports.run import Order, run
from lehr.imports.sending import concept_id

WIDTH, HEIGHT = 40, 20


def picture(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (hash(path.name) % 256, 0, 0)).save(path)
    return path


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def make_coco(folder: Path, **changes) -> None:
    picture(folder / "train2017/a.jpg")
    picture(folder / "train2017/b.jpg")
    content = {
        "images": [
            {"id": 10, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT},
            {"id": 20, "file_name": "b.jpg", "width": WIDTH, "height": HEIGHT},
        ],
        "categories": [{"id": 7, "name": "cat"}, {"id": 90, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 10, "category_id": 90, "bbox": [10, 5, 20, 10]},
            {"id": 2, "image_id": 10, "category_id": 7, "bbox": [0, 0, 4, 2], "segmentation": [[0, 0, 4, 0, 4, 2]]},
        ],
    } | changes
    text(folder / "annotations/instances_train2017.json", json.dumps(content))


def make_yolo(folder: Path, lines: str = "1 0.5 0.5 0.5 0.5\n0 0.05 0.05 0.1 0.1\n") -> None:
    picture(folder / "train/images/a.jpg")
    picture(folder / "train/images/b.jpg")
    text(folder / "train/labels/a.txt", lines)
    text(folder / "train/labels/b.txt", "")
    text(folder / "data.yaml", "train: train/images\nnc: 2\nnames: [cat, dog]\n")


def make_voc(folder: Path, box: str = "11 6 30 15", name: str = "dog", size: str = "40 20") -> None:
    picture(folder / "JPEGImages/a.jpg")
    picture(folder / "JPEGImages/b.jpg")
    sides = zip(("xmin", "ymin", "xmax", "ymax"), box.split(), strict=True)
    corners = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    width, height = size.split()
    head = f"<size><width>{width}</width><height>{height}</height></size>"
    for stem, objects in (
        ("a", f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"
              "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>2</ymax></bndbox></object>"),
        ("b", ""),
    ):  # fmt: skip
        xml = f"<annotation><filename>{stem}.jpg</filename>{head}{objects}</annotation>"
        text(folder / f"Annotations/{stem}.xml", xml)
    text(folder / "ImageSets/Main/train.txt", "a\nb\n")


def make_csv(folder: Path) -> None:
    picture(folder / "pictures/a.jpg")
    picture(folder / "pictures/b.jpg")
    rows = "filename,class,xmin,ymin,xmax,ymax,split\na.jpg,dog,10,5,30,15,train\na.jpg,cat,0,0,4,2,train\n"
    text(folder / "boxes.csv", rows + "b.jpg,,,,,,train\n")


MAKERS: dict[str, Callable[[Path], None]] = {"coco": make_coco, "yolo": make_yolo, "voc": make_voc, "csv": make_csv}


def read(folder: Path, format: str = ""):
    findings = Findings()
    return {one.path.name: one for one in format_of(folder, format).read(folder, findings)}, findings


def sentences(findings: Findings, errors: bool) -> str:
    return "; ".join(str(kind) for kind in findings if kind.is_error == errors)


@pytest.mark.parametrize("name", MAKERS)
def test_every_format_with_boxes_is_found_by_itself_and_says_the_same(name, tmp_path):
    MAKERS[name](tmp_path)
    assert format_of(tmp_path).name == name
    found, findings = read(tmp_path)
    assert set(found) == {"a.jpg", "b.jpg"}
    assert not findings.has_errors, sentences(findings, True)
    boxes = {shape.label: shape.box for shape in found["a.jpg"].shapes}
    assert boxes["dog"] == pytest.approx((0.25, 0.25, 0.75, 0.75))
    assert boxes["cat"] == pytest.approx((0, 0, 0.1, 0.1))
    assert found["b.jpg"].shapes == ()
    assert {one.split for one in found.values()} == {"train"}


def test_folders_of_pictures_label_them_and_may_be_in_parts(tmp_path):
    for name in ("train/cat/1.jpg", "train/dog/1.jpg", "val/cat/2.png", "test/images/dog/3.jpg"):
        picture(tmp_path / name)
    found, findings = read(tmp_path)
    assert format_of(tmp_path).name == "image-folder"
    pictures = [(each.name, each.labels, each.split) for each in FORMATS[-1].read(tmp_path, findings)]
    assert pictures == [
        ("test/images/dog/3.jpg", ("dog",), "test"),
        ("train/cat/1.jpg", ("cat",), "train"),
        ("train/dog/1.jpg", ("dog",), "train"),
        ("val/cat/2.png", ("cat",), "val"),
    ]
    assert found


def test_tables_of_labels_may_have_several_in_a_cell_or_a_column_each(tmp_path):
    for name in "abc":
        picture(tmp_path / f"{name}.jpg")
    text(tmp_path / "labels.csv", 'image,labels\na.jpg,"cat, dog"\nb.jpg,cat|red cat\nc.jpg,\n')
    found, findings = read(tmp_path)
    assert {name: one.labels for name, one in found.items()} == {
        "a.jpg": ("cat", "dog"),
        "b.jpg": ("cat", "red cat"),
        "c.jpg": (),
    }
    assert "no label" in sentences(findings, False)
    text(tmp_path / "labels.csv", "filename, cat, dog\na.jpg, 1, 1\nb.jpg, 0, 1\nc.jpg, 0, 0\n")
    found, _ = read(tmp_path)
    assert {name: one.labels for name, one in found.items()} == {
        "a.jpg": ("cat", "dog"),
        "b.jpg": ("dog",),
        "c.jpg": (),
    }


def test_outlines_of_yolo_and_names_in_other_places(tmp_path):
    make_yolo(tmp_path, "0 0.1 0.1 0.5 0.1 0.5 0.6\n")
    (tmp_path / "data.yaml").write_text("names:\n  0: cat\n  1: dog\n")
    [shape] = read(tmp_path)[0]["a.jpg"].shapes
    assert (shape.label, len(shape.outline)) == ("cat", 3)
    assert shape.box == pytest.approx((0.1, 0.1, 0.5, 0.6))
    (tmp_path / "data.yaml").unlink()
    text(tmp_path / "classes.txt", "cat\ndog\n")
    assert format_of(tmp_path).name == "yolo"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"annotations": [{"id": 5, "image_id": 10, "category_id": 1, "bbox": [0, 0, 4, 4]}]},
            "category that is not decl",
        ),
        (
            {"annotations": [{"id": 5, "image_id": 99, "category_id": 7, "bbox": [0, 0, 4, 4]}]},
            "picture that is not listed",
        ),
        ({"annotations": [{"id": 5, "image_id": 10, "category_id": 7}]}, "neither a box nor an outline"),
        ({"categories": [{"id": 7, "name": "cat"}, {"id": 7, "name": "dog"}]}, "stand for two names"),
        ({"images": [{"id": 10, "file_name": "none.jpg"}], "annotations": []}, "not there"),
        ({"images": [{"id": 10, "file_name": "../../../etc/passwd"}], "annotations": []}, "not there"),
    ],
)
def test_wrong_class_ids_and_missing_things_in_coco_are_errors(changes, words, tmp_path):
    make_coco(tmp_path, **changes)
    _, findings = read(tmp_path)
    assert words in sentences(findings, True)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("2 0.5 0.5 0.1 0.1", "not one of the 2 declared"),
        ("-1 0.5 0.5 0.1 0.1", "not one of the 2 declared"),
        ("0 20 10 8 4", "in pixels"),
        ("0 0.5 0.5", "neither four numbers"),
        ("cat 0.5 0.5 0.1 0.1", "no numbers"),
    ],
)
def test_wrong_lines_in_yolo_are_errors(lines, words, tmp_path):
    make_yolo(tmp_path, lines)
    found, findings = read(tmp_path)
    assert words in sentences(findings, True)
    assert found["a.jpg"].shapes == ()


def test_boxes_out_of_range_are_cut_or_left_out_and_told(tmp_path):
    boxes = ([-10, 5, 20, 10], [38, 0, 2.1, 4], [50, 5, 10, 10], [5, 5, 0, 10])
    notes = [{"id": n, "image_id": 10, "category_id": 7, "bbox": box} for n, box in enumerate(boxes)]
    make_coco(tmp_path, annotations=notes)
    found, findings = read(tmp_path)
    assert [shape.box for shape in found["a.jpg"].shapes] == [
        pytest.approx((0, 0.25, 0.25, 0.75)),
        pytest.approx((0.95, 0, 1, 0.2)),
    ]
    told = sentences(findings, False)
    assert "1 boxes reach beyond their picture" in told
    assert "2 boxes have no area" in told
    make_voc(tmp_path / "voc", box="0 0 40 20", size="80 40")
    _, findings = read(tmp_path / "voc")
    assert "another size than their file says" in sentences(findings, False)
    make_voc(tmp_path / "other", box="x 0 40 20")
    _, findings = read(tmp_path / "other")
    assert "objects have no box" in sentences(findings, True)


def test_a_folder_of_two_kinds_or_of_none_is_asked_about(tmp_path):
    with pytest.raises(InvalidRequest, match=r"holds nothing that is known\. coco: JSON"):
        format_of(tmp_path)
    with pytest.raises(InvalidRequest, match="is no folder"):
        format_of(tmp_path / "none")
    make_coco(tmp_path)
    make_voc(tmp_path)
    with pytest.raises(InvalidRequest, match="looks like coco and voc: say which one"):
        format_of(tmp_path)
    assert format_of(tmp_path, "voc").name == "voc"
    text(tmp_path / "settings.json", "{}")
    text(tmp_path / "broken.json", "{")


def test_a_dry_run_reports_and_needs_no_server(tmp_path, capsys):
    make_coco(tmp_path)
    assert run(Order(folder=tmp_path, is_dry=True)) == 0
    said = capsys.readouterr().out
    assert "coco, 2 pictures (2 train)" in said
    assert "2 boxes (1 with outlines) of 2 kinds: dog 1, cat 1" in said
    assert "typing error" in said
    assert "nothing was sent" in said


def test_errors_stop_an_import_before_anything_is_sent(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("CLARIFAI_PAT", raising=False)
    make_yolo(tmp_path, "9 0.5 0.5 0.1 0.1")
    assert run(Order(folder=tmp_path, app_id="a")) == 1
    assert "Nothing was sent. Mend what is marked `!`" in capsys.readouterr().out
    with pytest.raises(InvalidRequest, match="CLARIFAI_PAT is not set"):
        run(Order(folder=tmp_path, app_id="a", with_errors=True))
    make_yolo(tmp_path)
    with pytest.raises(InvalidRequest, match="--app is missing"):
        run(Order(folder=tmp_path))


def test_two_pictures_with_one_id_are_an_error(tmp_path, capsys):
    picture(tmp_path / "a/b.jpg")
    picture(tmp_path / "a-b.jpg")
    assert run(Order(folder=tmp_path, is_dry=True)) == 1
    assert "the id of another one" in capsys.readouterr().out
    assert concept_id("a/b  c") == "a-b c"
