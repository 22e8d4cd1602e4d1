"""A trained model as a folder, complete in itself: weights, facts, and the form that serves it.

    model.json         format, template, form, rate and its schedule, concepts, preprocessing, thresholds, metrics, …
    model.safetensors  the network's weights
    evaluation.json    everything measured on the held-out items (absent without any)
    model.onnx, openvino.xml, openvino.bin   the CPU form, absent when it does not compute what torch computes

Reading needs no torch.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lehr.errors import LehrError
from lehr.learn.metrics import detection, embedding
from lehr.learn.metrics.classification import Evaluation
from lehr.learn.metrics.detection import DetectorEvaluation
from lehr.learn.metrics.embedding import EmbeddingEvaluation
from lehr.learn.openvino_form import CHUNK, ONNX_FILE, OPENVINO_FILE, OpenvinoNet, cpu_precision, export
from lehr.learn.preprocessing import Preprocessing
from lehr.learn.schedule import facts_of
from lehr.learn.views import averaged

if TYPE_CHECKING:
    from torch import nn

    from lehr.learn.checkpoint import State
    from lehr.learn.data.dataset import Data
    from lehr.learn.recipe import Recipe
    from lehr.learn.serving_net import ServingNet

FORMAT = 1
TOLERANCE = {"bf16": 0.05, "f32": 0.002}
"""Largest difference from torch in float32 at which a served precision is accepted: of any single output, and of all
of them relative to how much they vary from picture to picture."""
_COMPARED_ITEMS = 64


class BundleDamaged(LehrError):
    """A model folder that is not whole, or of a format this Lehr does not know."""

    code = 21102


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What model.json says."""

    folder: Path
    template: str
    form: Mapping[str, Any]
    concepts: tuple[str, ...]
    preprocessing: Preprocessing
    thresholds: Mapping[str, float]
    """Per concept the probability at which F1 was largest on the held-out items; empty without any."""
    metrics: Mapping[str, Any]
    """One line of figures, see Evaluation.summary; empty without held-out items."""
    serving: Mapping[str, Any]
    """"form" ("openvino" or "torch"), "precision", "difference" per tried precision."""
    output: str
    """"probabilities", "embedding" or "detections"."""
    details: Mapping[str, Any]
    """All of model.json."""


AnyEvaluation = Evaluation | DetectorEvaluation | EmbeddingEvaluation
_KINDS: Mapping[str, type[AnyEvaluation]] = {detection.KIND: DetectorEvaluation, embedding.KIND: EmbeddingEvaluation}
"""What evaluation.json says it is; nothing: of a classifier."""


def write_bundle(recipe: Recipe, data: Data, state: State, evaluation: AnyEvaluation | None, folder: Path) -> Bundle:
    """Writes the model as it was at `state`. The folder appears whole, by one rename, and must not exist before."""
    from lehr.learn.loop import trained_net

    with whole(folder) as partial:
        net = trained_net(recipe, data, state)
        write_weights(net, partial)
        serving = serving_form(_exported(net, recipe, data, partial), partial)
        if evaluation:
            (partial / "evaluation.json").write_text(json.dumps(evaluation.to_json()))
        details = _details(recipe, data, state, evaluation) | {"serving": serving}
        (partial / "model.json").write_text(json.dumps(details, indent=1))
    return read_bundle(folder)


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A folder to be filled: it becomes `folder` by one rename at the end, or nothing is left of it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield partial
        _sync(partial)
        partial.chmod(0o755)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_bundle(folder: Path) -> Bundle:
    """Reads model.json. Raises BundleDamaged when it is missing, broken or of another format."""
    try:
        details = json.loads((folder / "model.json").read_text())
    except (OSError, ValueError) as error:
        raise BundleDamaged(f"{folder} is no model folder: model.json cannot be read ({error}).") from error
    if details.get("format") != FORMAT:
        raise BundleDamaged(f"{folder} has format {details.get('format')}; this Lehr reads format {FORMAT}.")
    return Bundle(
        folder=folder,
        template=details["template"],
        form=details["form"],
        concepts=tuple(details["concepts"]),
        preprocessing=Preprocessing.from_json(details["preprocessing"]),
        thresholds=details["thresholds"],
        metrics=details["metrics"],
        serving=details["serving"],
        output=details["output"],
        details=details,
    )


def read_evaluation(folder: Path) -> AnyEvaluation | None:
    """All figures of the held-out items; None when there were none."""
    path = folder / "evaluation.json"
    if not path.is_file():
        return None
    values = json.loads(path.read_text())
    return _KINDS.get(values.get("kind"), Evaluation).from_json(values)


def write_weights(net: nn.Module, folder: Path) -> None:
    """Writes model.safetensors."""
    from safetensors.torch import save_file

    tensors = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "model.safetensors").chmod(0o644)


class Exported(Protocol):
    """A network that can be written for OpenVINO, and compared with what was written."""

    def write(self) -> None:
        """Writes model.onnx and openvino.xml + .bin."""
        ...

    def difference(self, precision: str) -> dict[str, float]:
        """How far it is from torch in float32: "largest" and "relative", see TOLERANCE."""
        ...

    @property
    def num_compared(self) -> int:
        """Pictures that are compared."""
        ...


@dataclass(frozen=True, kw_only=True)
class ExportedCrops:
    """A network of crops or whole pictures, compared on pictures: uint8 [V, height, width, 3] each."""

    net: ServingNet
    before: Preprocessing
    pictures: list[np.ndarray]
    folder: Path

    @property
    def num_compared(self) -> int:
        """As `Exported` says."""
        return len(self.pictures)

    def write(self) -> None:
        """As `Exported` says."""
        export(self.net, self.before, self.folder)

    def difference(self, precision: str) -> dict[str, float]:
        """As `Exported` says."""
        return _difference(self.net, self.folder, precision, self.pictures)


def _exported(net: nn.Module, recipe: Recipe, data: Data, folder: Path) -> Exported:
    if recipe.output == "detections":
        from lehr.learn.detection.torch_detector import exported_detector

        return exported_detector(net, recipe, data, folder)
    from lehr.learn.serving_net import ServingNet

    return ExportedCrops(
        net=ServingNet(net, recipe.preprocessing, recipe.served_activation),
        before=recipe.preprocessing,
        pictures=_compared_pictures(recipe, data),
        folder=folder,
    )


def serving_form(exported: Exported, folder: Path) -> dict[str, Any]:
    """Exports, compares with torch in float32 on real pictures, and keeps the fastest precision that agrees."""
    try:
        exported.write()
        differences = {name: exported.difference(name) for name in _precisions()}
        reason = "its outputs differ too much from torch's"
    except Exception as error:  # any exporter's failure leaves torch, which always serves
        differences, reason = {}, f"it could not be made ({type(error).__name__}: {str(error)[:200]})"
    accepted = next((name for name, found in differences.items() if max(found.values()) <= TOLERANCE[name]), None)
    if accepted is None:
        for name in (ONNX_FILE, OPENVINO_FILE, "openvino.bin"):
            (folder / name).unlink(missing_ok=True)
        return {"form": "torch", "precision": "f32", "difference": differences, "why": f"no OpenVINO: {reason}"}
    return {"form": "openvino", "precision": accepted, "difference": differences, "items": exported.num_compared}


def _precisions() -> list[str]:
    return ["bf16", "f32"] if cpu_precision() == "bf16" else ["f32"]


def _compared_pictures(recipe: Recipe, data: Data) -> list[np.ndarray]:
    before = recipe.preprocessing
    pictures = [before.crops(data.pack.pixels(row)) for row in compared_rows(data, _COMPARED_ITEMS)]
    if before.are_whole:  # a graph that is true of one shape alone must not pass where all items have that shape
        pictures += [np.concatenate([picture, picture], axis=axis) for picture in pictures[:2] for axis in (1, 2)]
    return pictures


def compared_rows(data: Data, most: int) -> np.ndarray:
    """Rows of held-out pictures, or of training ones where there are none, spread evenly over the content."""
    candidates = data.held_indices if data.num_held_out else data.train_indices
    chosen = candidates[np.linspace(0, len(candidates) - 1, min(most, len(candidates))).astype(int)]
    return data.rows_N[chosen]


def _difference(net: ServingNet, folder: Path, precision: str, pictures: list[np.ndarray]) -> dict[str, float]:
    """ "largest": of any output; "relative": of all, as a share of their variation over the pictures."""
    from lehr.learn.device import Device
    from lehr.learn.serving_net import run

    exact = Device(name="cpu", is_bf16=False, threads=1)
    served = OpenvinoNet(folder, precision)
    expected_NK = np.stack(averaged(lambda crops: run(net, crops, exact), pictures, CHUNK))
    found_NK = np.stack(averaged(served, pictures, CHUNK))
    if not np.isfinite(found_NK).all():
        return {"largest": 1e9, "relative": 1e9}
    variation = float(np.linalg.norm(expected_NK - expected_NK.mean(axis=0)))
    wrong_NK = found_NK - expected_NK
    return {
        "largest": float(np.abs(wrong_NK).max()),
        "relative": float(np.linalg.norm(wrong_NK)) / max(variation, 1e-3),
    }


def _details(recipe: Recipe, data: Data, state: State, evaluation: AnyEvaluation | None) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "template": recipe.template,
        "form": dict(recipe.form),
        "lrate": recipe.descent.lrate,
        "schedule": facts_of(recipe.schedule),
        "concepts": list(recipe.problem.concepts),
        "net": {"name": recipe.net.name, "arguments": dict(recipe.net.arguments)},
        "output": recipe.output,
        "activation": recipe.served_activation,
        "preprocessing": recipe.preprocessing.to_json(),
        "thresholds": evaluation.thresholds if evaluation else {},
        "metrics": evaluation.summary() if evaluation else {},
        "history": state.facts["history"],
        "pretrained": dict(recipe.provenance),
        "data": {
            "fingerprint": data.fingerprint,
            "num_train": data.num_train,
            "num_held_out": data.num_held_out,
            "positives": dict(zip(recipe.problem.concepts, recipe.problem.positives, strict=True)),
        },
        "warnings": [*recipe.notices, *(finding.text for finding in data.findings)],
        "seed": recipe.seed,
        "device": {name: getattr(recipe.problem.device, name) for name in ("name", "threads", "precision")},
        "versions": versions(),
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """Of everything that a network's outputs may depend on."""
    named = {name: _version(name) for name in ("lehr", "torch", "timm", "openvino", "numpy", "pillow")}
    return named | {"python": platform.python_version()}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _sync(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
