"""Answers with a trained model from its folder. On a CPU through OpenVINO, without importing torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lehr.learn.bundle import Bundle, read_bundle
from lehr.learn.detection.predictor import DetectionPredictor, load_detector
from lehr.learn.machine import has_gpu_driver
from lehr.learn.openvino_form import CHUNK, LANE_CHUNK, OpenvinoNet, cpu_precision
from lehr.learn.views import Run, averaged, unit

_MOST_LANES = 4


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A loaded model. Safe to call from several threads; the caller batches."""

    bundle: Bundle
    run: Run
    chunk: int
    """Most square crops in one call of `run`."""
    form: str
    """"openvino bf16", "openvino f32", "torch cpu f32", "torch cuda:0 bf16", …"""
    lanes: int = 1
    """Calls of `predict` that it computes best at once."""
    give_back: Callable[[], None] = lambda: None
    """Lets other processes have the memory of the device that is kept here without being used."""

    @classmethod
    def load(
        cls, folder: Path, device: str = "auto", threads: int | None = None, lanes: int = 1
    ) -> Predictor | DetectionPredictor:
        """Opens a model folder. `lanes` calls may share the threads of a CPU.

        "auto": the CUDA device with the most free memory that torch can compute on, in the precision that the model was
        evaluated in; the CPU where there is none, or where the model could not be loaded on it, which the log tells.
        Raises BundleDamaged when the folder is no whole model, InvalidRequest when the named device is not there.
        """
        bundle = read_bundle(folder)
        if device == "auto":
            found = _on_gpu(bundle, threads) if _has_cuda() else None
            if found:
                return found
            device = "cpu"
        if device != "cpu" or bundle.serving["form"] != "openvino":
            from lehr.learn.torch_predictor import load_with_torch

            return load_with_torch(bundle, device, threads)
        allowed = bundle.serving["precision"]
        precision = allowed if allowed == "f32" or cpu_precision() == "bf16" else "f32"
        if bundle.output == "detections":
            return load_detector(bundle, precision, threads)
        run = OpenvinoNet(folder, precision, threads, lanes)
        chunk = CHUNK if lanes == 1 else LANE_CHUNK
        return cls(bundle=bundle, run=run, chunk=chunk, form=f"openvino {precision}", lanes=lanes)

    @classmethod
    def load_for_much(cls, folder: Path) -> Predictor | DetectionPredictor:
        """As `load`, for work that nobody waits for picture by picture: a lane per core, four at most."""
        return cls.load(folder, lanes=min(_MOST_LANES, os.cpu_count() or 1))

    @property
    def image_size(self) -> int:
        """Decode pictures so that their shorter side is this."""
        return self.bundle.preprocessing.image_size

    @property
    def concepts(self) -> tuple[str, ...]:
        """Ids, in the order of the outputs."""
        return self.bundle.concepts

    @property
    def output(self) -> str:
        """ "probabilities" or "embedding"."""
        return self.bundle.output

    def predict(self, pixels: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 [K] per picture, in order. `pixels`: uint8 [H, W, 3] each, of any size (resized here if need be)."""
        pictures = [self.bundle.preprocessing.crops(picture) for picture in pixels]
        outputs = averaged(self.run, pictures, self.chunk)
        return unit(outputs) if self.output == "embedding" else outputs


AnyPredictor = Predictor | DetectionPredictor


def _has_cuda() -> bool:
    """Whether there is a driver that shows a GPU to this process, without importing torch."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return False
    return has_gpu_driver()


def _on_gpu(bundle: Bundle, threads: int | None) -> AnyPredictor | None:
    from lehr.learn.torch_predictor import load_on_gpu

    return load_on_gpu(bundle, threads)
