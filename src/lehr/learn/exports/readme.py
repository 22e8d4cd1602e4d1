"""The words that go with an exported model: what it is, how to run it, what to do before and after the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SHOWN_LABELS = 20


def readme(sheet: Mapping[str, Any], labels: Sequence[Mapping[str, str]]) -> str:
    """README.md of an exported model, from what its model.json says."""
    parts = (
        _title(sheet),
        _RUN,
        _before(sheet),
        _after(sheet),
        _labels(sheet, labels),
        _compared(sheet),
        _origin(sheet),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


_RUN = """\
## Run it

    pip install numpy pillow onnxruntime
    python predict.py picture.jpg

`predict.py` stands alone: it needs none of the software that trained the model, and openvino or onnx do in place of
onnxruntime. From Python: `from predict import Model; Model(".").predict("picture.jpg")`. To write your own, follow the
two sections below; every number is in `model.json`."""

WHAT = {
    "probabilities": "a classifier: of a picture it gives a probability for each concept",
    "embedding": "an embedder: of a picture it gives a vector of length 1; alike pictures have near vectors",
    "detections": "a detector: of a picture it gives boxes, each with a concept and a score",
}
"""What a model that can be exported gives, in words."""


def _title(sheet: Mapping[str, Any]) -> str:
    model = sheet["model"]
    return (
        f"# {model.get('name') or model.get('model_id', 'model')}\n\n"
        f"Version `{model.get('version_id', '')}` of `{model.get('model_id', '')}`, {WHAT[sheet['output']]}. "
        f"Trained with the template `{sheet['template']}`."
    )


def _before(sheet: Mapping[str, Any]) -> str:
    before = sheet["preprocessing"]
    steps = [
        "Decode to 8-bit RGB, turned as its EXIF orientation says, transparency laid on white.",
        f"Resize (bicubic, antialiased) so that the shorter side is {before['shorter_side']} pixels, "
        + (
            f"the longer side at most {before['max_aspect']:.3f} times that."
            if "max_aspect" in before
            else "aspect kept."
        ),
    ]
    if sheet["output"] == "detections":
        steps.append(
            f"Lay it at the upper left corner of a canvas of grey {before['padding']}, whose sides are the next "
            f"multiples of {before['canvas_step']}."
        )
    elif any(view["is_whole"] for view in before["views"]):
        steps.append("Give all of it, and its mirror image too where a view in `model.json` says so.")
    else:
        steps.append(
            f"Cut a square of {before['crop_side']} pixels per view ({len(before['views'])} in all): in the middle of "
            "the shorter side, at `position` (0 its beginning, 1 its end) of the longer one, mirrored where the view "
            "says so."
        )
    steps.append("Give the bytes as they are: normalisation is the first step inside the network.")
    return "## Before the network\n\nIts input `pixels` is uint8 [n, height, width, 3].\n\n" + _numbered(steps)


def _after(sheet: Mapping[str, Any]) -> str:
    if sheet["output"] == "detections":
        return "## After the network\n\n" + _numbered(_steps_to_boxes(sheet["postprocessing"]))
    steps = ["Average `outputs` over the views of a picture."]
    if sheet["output"] == "embedding":
        steps.append("Divide the vector by its length.")
    else:
        steps.append("They are probabilities already, one per concept, in the order of `labels.json`.")
    return "## After the network\n\n" + _numbered(steps)


def _steps_to_boxes(after: Mapping[str, Any]) -> list[str]:
    return [
        "There is one row of `logits` (a number per concept) and of `offsets` per anchor: by level (strides "
        f"{after['strides']}), cell row, cell column, ratio, scale. The anchor of a cell is centred at stride times "
        "its column and row, of area (size x scale) squared, and `ratio` times as wide as high.",
        f"A score is sigmoid(logit). Per level keep the best {after['per_level']} (anchor, concept) pairs above "
        f"{after['lowest_score']}.",
        "A box's centre is the anchor's, moved by the first two offsets in sides of the anchor; its sides are the "
        f"anchor's times exp of the other two, which count up to {after['max_log_growth']:.4f}. Cut it off at the "
        "picture.",
        f"Of boxes of one concept that overlap by more than {after['nms_iou']} (intersection over union) keep the "
        f"best; of all, the best {after['limit']}. Show those above {after['detection_threshold']}.",
    ]


def _labels(sheet: Mapping[str, Any], labels: Sequence[Mapping[str, str]]) -> str:
    if not labels or sheet["output"] == "embedding":
        return ""
    thresholds = sheet["thresholds"]
    lines = [
        f"| `{label['id']}` | {label['name'].replace('|', '/')} | {_number(thresholds.get(label['id']))} |"
        for label in labels[:_SHOWN_LABELS]
    ]
    more = f"\n\nand {len(labels) - _SHOWN_LABELS} more in `labels.json`." if len(labels) > _SHOWN_LABELS else ""
    head = "| id | name | threshold |\n|---|---|---|\n"
    told = (
        "The threshold of a concept is where precision and recall balanced best (F1) on items kept back from training."
    )
    return f"## Concepts\n\n{head}" + "\n".join(lines) + more + "\n\n" + told


def _compared(sheet: Mapping[str, Any]) -> str:
    found = sheet["comparison"]
    kind = "items of the data set" if found["are_real"] else "drawn pictures (no item of the data set was left)"
    return (
        "## Is it the same model?\n\n"
        f"`predict.py` with `model.onnx` was compared on {len(found['pictures'])} {kind} before this was written. The "
        f"largest difference of any {'score' if sheet['output'] == 'detections' else 'output'} was "
        f"{found['from_trained']['largest']:.2g} from the trained network in float32, and "
        f"{found['from_served']['largest']:.2g} from what a server without a GPU answers "
        f"({found['from_served']['form']}). "
        "All figures are in `model.json` under `comparison`, and in the metadata of `model.onnx`."
    )


def _origin(sheet: Mapping[str, Any]) -> str:
    pretrained = sheet["pretrained"]
    if not pretrained.get("licence"):
        return ""
    return (
        "## Where it began\n\n"
        f"The weights were started from `{pretrained['name']}` ({pretrained['source']}; licence: "
        f"{pretrained['licence']})."
    )


def _numbered(steps: Sequence[str]) -> str:
    return "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
