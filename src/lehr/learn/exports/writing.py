"""Writes a trained model out for use elsewhere: ONNX, weights, labels, description and a program that runs them.

    model.onnx         pixels in, outputs out; what was compared, and with which difference, is in its metadata too
    model.safetensors  the weights
    model.json         what it is; steps before and after the network; thresholds; figures; the measured difference
    labels.json        id and name of every output, in order
    predict.py         runs all this without Lehr
    README.md          says so

An export is written only when it answers as ours does. Legend: comparing.py.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lehr.learn.bundle import Bundle
from lehr.learn.data.decode import MAX_ASPECT
from lehr.learn.detection import framing, pictures
from lehr.learn.detection.anchors import STRIDES
from lehr.learn.detection.predictor import anchors_in
from lehr.learn.detection.selection import EVALUATED, MAX_LOG_GROWTH
from lehr.learn.exports import program
from lehr.learn.exports.comparing import Agreement, ExportDisagrees, agreement, exact_predictor
from lehr.learn.exports.readme import WHAT, readme
from lehr.learn.openvino_form import ONNX_FILE, OPENVINO_FILE

FORMAT = 1
OPSET = 17
NORMALISED = "the network's input is normalised inside it: (pixel / 255 - mean) / std"


@dataclass(frozen=True, kw_only=True)
class ExportOrder:
    """What is exported, and on which pictures it is compared."""

    bundle: Bundle
    labels: Sequence[Mapping[str, str]]
    """`id` and `name` of every concept, in the model's order."""
    about: Mapping[str, Any]
    """Which model this is; plain JSON, kept as `model`."""
    detection_threshold: float
    """Scores of shown boxes are above it; of detectors only."""
    pictures: Mapping[str, np.ndarray]
    """Name to uint8 [height, width, 3]; at least one."""
    are_real: bool
    """Whether these are items of the user's, not drawn."""


def write_export(order: ExportOrder, folder: Path) -> dict[str, Any]:
    """Fills the empty `folder`; answers what model.json says. Raises ExportDisagrees, with a sentence."""
    bundle = order.bundle
    if bundle.output not in WHAT:
        raise ExportDisagrees(f"Models that give {bundle.output} are not exported; exported are: {', '.join(WHAT)}.")
    _write_network(bundle, folder)
    shutil.copyfile(bundle.folder / "model.safetensors", folder / "model.safetensors")
    shutil.copyfile(program.__file__, folder / "predict.py")
    sheet = _sheet(order)
    _write_json(folder / "labels.json", list(order.labels))
    _write_json(folder / "model.json", sheet)  # the program reads it, and the program is what is compared
    sheet["comparison"] = _compared(order, folder)
    _sign(folder / ONNX_FILE, sheet)
    sheet["files"] = {name: _sha256(folder / name) for name in (ONNX_FILE, "model.safetensors", "predict.py")}
    _write_json(folder / "model.json", sheet)
    (folder / "README.md").write_text(readme(sheet, order.labels), encoding="utf-8")
    return sheet


def _write_network(bundle: Bundle, folder: Path) -> None:
    """The ONNX file that the bundle has, or a new one where it serves by torch alone."""
    present = bundle.folder / ONNX_FILE
    if present.is_file():
        shutil.copyfile(present, folder / ONNX_FILE)
        return
    try:
        _export_anew(bundle, folder)
    except Exception as error:  # any exporter's failure is one sentence to the user
        raise ExportDisagrees(
            f"The network {bundle.details['net']['name']!r} cannot be written as ONNX: "
            f"{type(error).__name__}: {str(error)[:200]}"
        ) from error
    for name in (OPENVINO_FILE, "openvino.bin"):
        (folder / name).unlink(missing_ok=True)


def _export_anew(bundle: Bundle, folder: Path) -> None:
    from safetensors.torch import load_file

    from lehr.learn.nets.catalogue import build

    net = build(bundle.details["net"]["name"], bundle.details["net"]["arguments"])
    net.load_state_dict(load_file(bundle.folder / "model.safetensors"))
    if bundle.output == "detections":
        from lehr.learn.detection.torch_detector import ServingDetector, export_detector

        export_detector(ServingDetector(net, bundle.preprocessing), folder)  # type: ignore[arg-type]
        return
    from lehr.learn.openvino_form import export
    from lehr.learn.serving_net import ServingNet

    export(ServingNet(net, bundle.preprocessing, bundle.details["activation"]), bundle.preprocessing, folder)


# -- what model.json says ----------------------------------------------------------------------------------------------


def _sheet(order: ExportOrder) -> dict[str, Any]:
    bundle = order.bundle
    details = bundle.details
    is_detector = bundle.output == "detections"
    return {
        "format": FORMAT,
        "model": dict(order.about),
        "output": bundle.output,
        "input": {"name": "pixels", "type": "uint8", "shape": ["n", "height", "width", 3], "channels": "RGB"},
        "outputs": ["logits", "offsets"] if is_detector else ["outputs"],
        "preprocessing": _framing(bundle) if is_detector else _cropping(bundle),
        "postprocessing": _boxing(order) if is_detector else _reading(bundle),
        "thresholds": dict(bundle.thresholds),
        "metrics": dict(bundle.metrics),
        "template": bundle.template,
        "hyperparameters": dict(bundle.form),
        "network": details["net"],
        "pretrained": details["pretrained"],
        "warnings": details["warnings"],
        "versions": details["versions"],
        "onnx_opset": OPSET,
    }


def _cropping(bundle: Bundle) -> dict[str, Any]:
    before = bundle.preprocessing
    return {
        "shorter_side": before.image_size,
        "crop_side": before.side,
        "views": [asdict(view) for view in before.views],
        **({"max_aspect": MAX_ASPECT} if before.are_whole else {}),
        "resampling": "bicubic, antialiased",
        "mean": list(before.mean),
        "std": list(before.std),
        "normalisation": NORMALISED,
    }


def _framing(bundle: Bundle) -> dict[str, Any]:
    before = bundle.preprocessing
    return {
        "shorter_side": before.image_size,
        "max_aspect": framing.MAX_ASPECT,
        "canvas_step": framing.STEP,
        "padding": pictures.PADDING,
        "resampling": "bicubic, antialiased",
        "mean": list(before.mean),
        "std": list(before.std),
        "normalisation": NORMALISED,
    }


def _reading(bundle: Bundle) -> dict[str, Any]:
    if bundle.output == "embedding":
        return {"views": "averaged", "length": "brought to 1 after averaging"}
    return {"views": "averaged", "activation": f"{bundle.details['activation']}, inside the network"}


def _boxing(order: ExportOrder) -> dict[str, Any]:
    anchors = anchors_in(order.bundle.details["net"]["arguments"])
    return {
        "strides": list(STRIDES),
        "sizes": list(anchors.sizes),
        "ratios": list(anchors.ratios),
        "scales": list(anchors.scales),
        "max_log_growth": MAX_LOG_GROWTH,
        "lowest_score": EVALUATED.threshold,
        "per_level": EVALUATED.per_level,
        "nms_iou": EVALUATED.nms_iou,
        "limit": EVALUATED.limit,
        "detection_threshold": order.detection_threshold,
    }


# -- whether it is the same model --------------------------------------------------------------------------------------


def _compared(order: ExportOrder, folder: Path) -> dict[str, Any]:
    """The figures of the comparison; raises ExportDisagrees for an export that is another model."""
    from lehr.learn.predictor import Predictor

    bundle, pixels = order.bundle, list(order.pictures.values())
    exported = program.Model(folder, program.openvino_network(folder / ONNX_FILE))
    found = [exported.values(picture) for picture in pixels]
    served = Predictor.load(bundle.folder, "cpu")
    precision = "bf16" if served.form.endswith("bf16") else "f32"
    exact = _close(order, agreement(bundle, found, exact_predictor(bundle).predict(pixels), "f32"), "the trained model")
    ours = _close(order, agreement(bundle, found, served.predict(pixels), precision), "what serves it on a CPU")
    return {
        "pictures": list(order.pictures),
        "are_real": order.are_real,
        "runner": "openvino, float32",
        "from_trained": {"form": "torch cpu f32", **exact.figures},
        "from_served": {"form": served.form, **ours.figures},
    }


def _close(order: ExportOrder, found: Agreement, what: str) -> Agreement:
    if found.is_close:
        return found
    figures = ", ".join(f"{name} {value:.4g}" for name, value in found.figures.items())
    raise ExportDisagrees(
        f"The exported network does not answer as {what} does on {len(order.pictures)} pictures ({figures}). "
        "Nothing was exported; train the version again, or export an earlier one."
    )


def _sign(path: Path, sheet: Mapping[str, Any]) -> None:
    """Writes who this is, and how far from ours, into the ONNX file's own metadata."""
    import onnx

    network = onnx.load(path)
    network.producer_name, network.producer_version = "lehr", str(sheet["versions"].get("lehr", ""))
    onnx.helper.set_model_props(
        network, {name: json.dumps(sheet[name]) for name in ("model", "comparison", "preprocessing", "postprocessing")}
    )
    onnx.save(network, path)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
