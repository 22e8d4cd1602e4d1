"""Answers with an exported model from its folder: pictures in, concepts, boxes or an embedding out.

    python predict.py PICTURE [PICTURE ...]

Stands alone: it needs numpy, Pillow and one of onnxruntime, openvino or onnx, and nothing of Lehr, which made the
folder. What it does before and after the network is described in model.json, whose values it reads; normalisation and
activation are part of model.onnx itself.

Letters: V views of a picture, S side of a crop, H and W of a canvas, A anchors, K classes, M boxes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

Run = Callable[[np.ndarray], Sequence[np.ndarray]]
"""uint8 [N, height, width, 3] -> the network's outputs, float32 [N, ...] each."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What each EXIF orientation asks for."""


class Model:
    """An exported folder. `run` is found by itself: onnxruntime, openvino, or onnx's own slow evaluator."""

    def __init__(self, folder: str | Path, run: Run | None = None) -> None:
        folder = Path(folder)
        self.sheet: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        self.labels: list[dict[str, str]] = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
        self.before: dict[str, Any] = self.sheet["preprocessing"]
        self.after: dict[str, Any] = self.sheet["postprocessing"]
        self.run = run or network(folder / "model.onnx")

    def predict(self, picture: str | Path | BinaryIO) -> dict[str, Any]:
        """The answer for one picture file: "concepts", "regions" or "embedding", best first."""
        return self.told(self.values(opened(picture, self.before["shorter_side"])))

    def values(self, pixels: np.ndarray) -> np.ndarray:
        """Of uint8 [height, width, 3]: probabilities [K], an embedding [D], or boxes [M, 6], see `boxes`."""
        if self.sheet["output"] == "detections":
            return boxes(self.run, pixels, self.before, self.after)
        crops = np.stack(list(views(pixels, self.before)))
        mean = self.run(crops)[0].mean(axis=0, dtype=np.float32)
        return mean / max(float(np.linalg.norm(mean)), 1e-12) if self.sheet["output"] == "embedding" else mean

    def told(self, values: np.ndarray) -> dict[str, Any]:
        """Values with their labels."""
        if self.sheet["output"] == "embedding":
            return {"embedding": values.tolist()}
        if self.sheet["output"] == "detections":
            return {"regions": [self._region(row) for row in values if row[4] > self.after["detection_threshold"]]}
        order = np.argsort(-values, kind="stable")
        return {"concepts": [{**self.labels[place], "value": float(values[place])} for place in order]}

    def _region(self, row: np.ndarray) -> dict[str, Any]:
        sides = dict(zip(("top", "left", "bottom", "right"), row[:4].tolist(), strict=True))
        return {**self.labels[int(row[5])], "value": float(row[4]), "box": sides}


# -- the network -------------------------------------------------------------------------------------------------------


def network(path: Path) -> Run:
    """Whatever on this machine runs an ONNX file."""
    for made in (_onnxruntime, openvino_network, _onnx):
        try:
            return made(path)
        except ImportError:
            continue
    raise SystemExit("Nothing here runs ONNX files. Install one of them: pip install onnxruntime")


def _onnxruntime(path: Path) -> Run:
    import onnxruntime  # type: ignore[import-not-found,unused-ignore]

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"pixels": pixels})  # type: ignore[no-any-return,unused-ignore]


def openvino_network(path: Path) -> Run:
    """The network as openvino runs it, in float32 whatever the processor would rather do."""
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda pixels: [np.array(output) for output in compiled([pixels]).values()]


def _onnx(path: Path) -> Run:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(path))
    return lambda pixels: list(evaluator.run(None, {"pixels": pixels}))


# -- before it ---------------------------------------------------------------------------------------------------------


def opened(picture: str | Path | BinaryIO, shorter_side: int) -> np.ndarray:
    """uint8 [height, width, 3]: upright, transparency on white, the shorter side resized to `shorter_side`."""
    image: Image.Image = Image.open(picture)
    turn = 1 if image.format == "TIFF" else image.getexif().get(0x0112, 1)
    width, height = image.size
    longer_side = round(shorter_side * min(max(width, height) / min(width, height), 4.0))
    size = (longer_side, shorter_side) if width >= height else (shorter_side, longer_side)
    drafted = image.draft(None, (2 * size[0], 2 * size[1])) if image.format in ("JPEG", "MPO") else None
    image = _coloured(image)
    if image.size != size:
        box = drafted[1] if drafted else None
        image = image.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
    return np.asarray((image.transpose(_TURNS[turn]) if turn in _TURNS else image).convert("RGB"))


def _coloured(image: Image.Image) -> Image.Image:
    image.load()
    if image.mode.startswith("I"):  # 16 bits of grey
        return Image.fromarray(((np.asarray(image).astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGB", rgba.size, "white")
        canvas.paste(rgba, mask=rgba)
        return canvas
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    if pixels.shape[:2] == (height, width):
        return pixels
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(image)


def views(pixels: np.ndarray, before: Mapping[str, Any]) -> Iterator[np.ndarray]:
    """uint8 [S, S, 3] each: the different crops whose outputs are averaged; or [H, W, 3]: all of the picture."""
    pixels, side, seen = _fitted(pixels, before), before["crop_side"], set()
    height, width = pixels.shape[:2]
    for view in before["views"]:
        top, left = (_begin(length, side, view["position"]) for length in _lengths(pixels))
        top, left, bottom, right = (0, 0, height, width) if view["is_whole"] else (top, left, top + side, left + side)
        if (top, left, view["is_mirrored"]) not in seen:
            seen.add((top, left, view["is_mirrored"]))
            part = pixels[top:bottom, left:right]
            yield part[:, ::-1] if view["is_mirrored"] else part


def _fitted(pixels: np.ndarray, before: Mapping[str, Any]) -> np.ndarray:
    """Resized to the shorter side, and squeezed where the longer one has a limit."""
    shorter = before["shorter_side"]
    longest = round(shorter * before.get("max_aspect", max(pixels.shape)))
    scale = shorter / min(pixels.shape[:2])
    height, width = (min(max(shorter, round(length * scale)), longest) for length in pixels.shape[:2])
    return _resized(pixels, height, width)


def _lengths(pixels: np.ndarray) -> Iterator[tuple[int, bool]]:
    """Height and width, each with whether it is the longer one."""
    height, width = pixels.shape[:2]
    return iter(((height, height > width), (width, width > height)))


def _begin(length: tuple[int, bool], side: int, position: float) -> int:
    """Where a crop begins along a side: in the middle of the shorter one, at `position` (0 to 1) of the longer one."""
    room = length[0] - side
    return int(room * position) if length[1] else room // 2


# -- after a detector's ------------------------------------------------------------------------------------------------


def boxes(run: Run, pixels: np.ndarray, before: Mapping[str, Any], after: Mapping[str, Any]) -> np.ndarray:
    """float32 [M, 6]: top, left, bottom, right (parts of height and width), score, class; best first."""
    height, width = pixels.shape[:2]
    shorter = before["shorter_side"]
    scale = min(shorter / min(height, width), before["max_aspect"] * shorter / max(height, width))
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    step = before["canvas_step"]
    frame = (-(-height // step) * step, -(-width // step) * step)
    canvas = np.full((1, *frame, 3), before["padding"], np.uint8)
    canvas[0, :height, :width] = _resized(pixels, height, width)
    logits_AK, offsets_AS4 = (output[0] for output in run(canvas))
    levels = [_anchors(number, frame, after) for number in range(len(after["strides"]))]
    anchor_M, class_M = _best_pairs(logits_AK, [len(level) for level in levels], after)
    scores_M = 1 / (1 + np.exp(-np.clip(logits_AK[anchor_M, class_M], -80, 80)))
    sets_M = class_M if offsets_AS4.shape[1] > 1 else np.zeros_like(class_M)
    moved_M4 = _moved(offsets_AS4[anchor_M, sets_M], np.concatenate(levels)[anchor_M], after["max_log_growth"])
    inside_M4 = np.clip(moved_M4, 0, np.array([width, height, width, height], np.float32))
    filled = (inside_M4[:, 2:] > inside_M4[:, :2]).all(1)
    return _distinct(inside_M4[filled], scores_M[filled], class_M[filled], (height, width), after)


def _anchors(level: int, frame: tuple[int, int], after: Mapping[str, Any]) -> np.ndarray:
    """float32 [rows * columns * kinds, 4] x1 y1 x2 y2: by row, column, ratio of width to height, and scale."""
    stride, size = after["strides"][level], after["sizes"][level]
    cell = [
        (-size * scale * ratio**0.5 / 2, -size * scale / ratio**0.5 / 2)
        for ratio in after["ratios"]
        for scale in after["scales"]
    ]
    cell_A4 = np.array([(x, y, -x, -y) for x, y in cell], np.float32)
    x, y = np.meshgrid(np.arange(-(-frame[1] // stride)) * stride, np.arange(-(-frame[0] // stride)) * stride)
    return (np.stack([x, y, x, y], -1).reshape(-1, 1, 4).astype(np.float32) + cell_A4).reshape(-1, 4)


def _best_pairs(
    logits_AK: np.ndarray, lengths: Sequence[int], after: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Anchor and class of each level's best pairs whose score is above the lowest that counts."""
    least, most = np.log(after["lowest_score"] / (1 - after["lowest_score"])), after["per_level"]
    anchors, classes, start = [], [], 0
    for length in lengths:
        flat = logits_AK[start : start + length].reshape(-1)
        pairs = np.flatnonzero(flat > least)
        if len(pairs) > most:
            pairs = pairs[np.argpartition(-flat[pairs], most - 1)[:most]]
        anchors.append(start + pairs // logits_AK.shape[1])
        classes.append(pairs % logits_AK.shape[1])
        start += length
    return np.concatenate(anchors), np.concatenate(classes)


def _moved(offsets_M4: np.ndarray, anchors_M4: np.ndarray, max_log_growth: float) -> np.ndarray:
    """Boxes x1 y1 x2 y2 in pixels: offsets are of the centre, in sides, and of the sides' logarithms."""
    sides = anchors_M4[:, 2:] - anchors_M4[:, :2]
    centres = offsets_M4[:, :2] * sides + (anchors_M4[:, :2] + anchors_M4[:, 2:]) / 2
    halves = np.exp(np.minimum(offsets_M4[:, 2:], max_log_growth)) * sides / 2
    return np.concatenate([centres - halves, centres + halves], 1).astype(np.float32)


def _distinct(
    boxes_M4: np.ndarray, scores_M: np.ndarray, class_M: np.ndarray, size: tuple[int, int], after: Mapping[str, Any]
) -> np.ndarray:
    """The best boxes, without those that overlap a better one of their class by more than `nms_iou`."""
    order = np.argsort(-scores_M, kind="stable")
    kept: list[int] = []
    while len(order) and len(kept) < after["limit"]:
        best, order = order[0], order[1:]
        kept.append(int(best))
        is_copy = (_overlap(boxes_M4[best], boxes_M4[order]) > after["nms_iou"]) & (class_M[order] == class_M[best])
        order = order[~is_copy]
    sides = np.array([size[0], size[1], size[0], size[1]], np.float32)
    chosen = np.array(kept, np.int64)
    shown = np.clip(boxes_M4[chosen][:, [1, 0, 3, 2]] / sides, 0, 1)
    return np.concatenate([shown, scores_M[chosen, None], class_M[chosen, None]], 1).astype(np.float32)


def _overlap(box: np.ndarray, others_M4: np.ndarray) -> np.ndarray:
    """Intersection over union."""
    both = np.minimum(box[2:], others_M4[:, 2:]) - np.maximum(box[:2], others_M4[:, :2])
    shared = np.clip(both, 0, None).prod(1)
    areas = (others_M4[:, 2:] - others_M4[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return shared / np.maximum(areas - shared, 1e-9)


def main() -> None:
    """Prints one line of JSON per picture."""
    if len(sys.argv) < 2:
        raise SystemExit("usage: python predict.py PICTURE [PICTURE ...]")
    model = Model(Path(__file__).parent)
    for picture in sys.argv[1:]:
        print(json.dumps({"picture": picture, **model.predict(picture)}, ensure_ascii=False))


if __name__ == "__main__":
    main()
