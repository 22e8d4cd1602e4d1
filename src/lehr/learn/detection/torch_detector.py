"""A trained detector in torch: as it is evaluated, served on a GPU, exported for CPUs and compared with its export.

Shapes: N images, H and W canvas, A anchors, K classes, S sets of offsets.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from lehr.learn.detection.openvino_detector import OpenvinoDetector
from lehr.learn.detection.pictures import canvas, framed
from lehr.learn.detection.postprocess import select
from lehr.learn.detection.retinanet import DenseRetinaNet, RetinaNet
from lehr.learn.detection.selection import RawOutputs, decoded, sigmoid
from lehr.learn.device import Device
from lehr.learn.metrics.mean_average_precision import ImageBoxes
from lehr.learn.openvino_form import ONNX_FILE, OPENVINO_FILE
from lehr.learn.preprocessing import Preprocessing

if TYPE_CHECKING:
    from lehr.learn.data.dataset import Data
    from lehr.learn.recipe import Recipe

_PROBABLE = 0.05
_COMPARED_ITEMS = 16


class TorchDetector:
    """uint8 [N, H, W, 3], H and W multiples of 32, to boxes; on the given device in its own precision."""

    def __init__(self, net: RetinaNet, preprocessing: Preprocessing, device: Device) -> None:
        self.net = device.place(net).eval()
        self.pixels = Pixels(preprocessing).to(device.name)
        self.device = device

    def __call__(self, pixels_NHW3: np.ndarray, sizes: Sequence[tuple[int, int]]) -> list[ImageBoxes]:
        """The boxes of each picture, in its own pixels; `sizes` are heights and widths without the padding."""
        with torch.inference_mode(), self.device.autocast():
            images = self.pixels(torch.from_numpy(np.ascontiguousarray(pixels_NHW3)).to(self.device.name))
            raw = self.net(images)
            found = select(raw.logits, self.net.offsets(raw), self.net.anchors(images), sizes)
        return [
            ImageBoxes(
                boxes=one.boxes.float().cpu().numpy(),
                classes=one.classes.cpu().numpy(),
                scores=one.scores.float().cpu().numpy(),
            )
            for one in found
        ]


class Pixels(nn.Module):
    """uint8 [N, H, W, 3] to normalised float32 [N, 3, H, W]."""

    mean: Tensor
    std: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, pixels_NHW3: Tensor) -> Tensor:
        """(x / 255 - mean) / std."""
        return (pixels_NHW3.permute(0, 3, 1, 2).float() - self.mean) / self.std


class ServingDetector(nn.Module):
    """What is exported: uint8 [N, H, W, 3] to logits [N, A, K] and offsets [N, A, S, 4] of all anchors."""

    def __init__(self, net: RetinaNet, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.pixels, self.dense = Pixels(preprocessing), DenseRetinaNet(net)
        self.eval()

    def forward(self, pixels_NHW3: Tensor) -> tuple[Tensor, Tensor]:
        """Raw outputs."""
        return self.dense(self.pixels(pixels_NHW3))


def export_detector(net: ServingDetector, folder: Path) -> None:
    """Writes `model.onnx` and `openvino.xml` + `.bin`, for any number of pictures of any size in steps of 32."""
    import openvino

    example = torch.zeros(2, 64, 96, 3, dtype=torch.uint8)
    axes = {"pixels": {0: "n", 1: "height", 2: "width"}, "logits": {0: "n", 1: "anchors"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter announces its successor, which needs another package
        torch.onnx.export(
            net.cpu(),
            (example,),
            str(folder / ONNX_FILE),
            input_names=["pixels"],
            output_names=["logits", "offsets"],
            dynamic_axes={**axes, "offsets": axes["logits"]},
            opset_version=17,
            dynamo=False,
        )
    openvino.save_model(openvino.convert_model(folder / ONNX_FILE), folder / OPENVINO_FILE, compress_to_fp16=False)


def difference(net: ServingDetector, served: OpenvinoDetector, pictures: Sequence[np.ndarray]) -> dict[str, float]:
    """How far the export is from torch in float32, on framed pictures.

    "largest": of any probability; "relative": the mean part of a probable anchor's box that the two do not share.
    """
    largest, apart = 0.0, [0.0]
    for picture in pictures:
        pixels = canvas([picture])
        with torch.inference_mode():
            logits, offsets = (output[0].numpy() for output in net(torch.from_numpy(pixels)))
        (found,) = served.raw(pixels)
        if not (np.isfinite(found.logits).all() and np.isfinite(found.offsets).all()):
            return {"largest": 1e9, "relative": 1e9}
        largest = max(largest, float(np.abs(sigmoid(found.logits) - sigmoid(logits)).max()))
        anchors = np.concatenate(served.anchors.arrays(*pixels.shape[1:3]))
        apart += _apart(RawOutputs(logits=logits, offsets=offsets), found, anchors)
    return {"largest": largest, "relative": float(np.mean(apart))}


class ExportedDetector:
    """A detector that is written for OpenVINO into a folder, and compared there on framed pictures."""

    def __init__(self, net: ServingDetector, pictures: Sequence[np.ndarray], folder: Path) -> None:
        self.net, self.pictures, self.folder = net, pictures, folder

    @property
    def num_compared(self) -> int:
        """Pictures that are compared."""
        return len(self.pictures)

    def write(self) -> None:
        """As `export_detector`."""
        export_detector(self.net, self.folder)

    def difference(self, precision: str) -> dict[str, float]:
        """As `difference`."""
        served = OpenvinoDetector(self.folder, self.net.dense.net.shape.anchors, precision)
        return difference(self.net, served, self.pictures)


def exported_detector(net: nn.Module, recipe: Recipe, data: Data, folder: Path) -> ExportedDetector:
    """The detector as it is about to be exported."""
    from lehr.learn.bundle import compared_rows

    assert isinstance(net, RetinaNet), "a detector's recipe trains a RetinaNet"
    size = recipe.preprocessing.image_size
    pictures = [framed(data.pack.pixels(int(row)), size) for row in compared_rows(data, _COMPARED_ITEMS)]
    return ExportedDetector(ServingDetector(net, recipe.preprocessing), pictures, folder)


def _apart(expected: RawOutputs, found: RawOutputs, anchors_A4: np.ndarray) -> list[float]:
    """1 - IoU of the boxes of every probable anchor and class."""
    anchor, label = np.nonzero(sigmoid(expected.logits) > _PROBABLE)
    sets = label if expected.offsets.shape[1] > 1 else np.zeros_like(label)
    one, other = (decoded(raw.offsets[anchor, sets], anchors_A4[anchor]) for raw in (expected, found))
    return (1.0 - _iou_of_pairs(one, other)).tolist()


def _iou_of_pairs(boxes_M4: np.ndarray, others_M4: np.ndarray) -> np.ndarray:
    upper, lower = np.minimum(boxes_M4[:, 2:], others_M4[:, 2:]), np.maximum(boxes_M4[:, :2], others_M4[:, :2])
    both = np.clip(upper - lower, 0, None).prod(-1)
    areas, other_areas = ((b[:, 2:] - b[:, :2]).prod(-1) for b in (boxes_M4, others_M4))
    return both / np.maximum(areas + other_areas - both, 1e-6)
