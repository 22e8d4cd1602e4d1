"""Answers with a trained model from its folder. On a CPU through OpenVINO, without importing torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lehr.learn.bundle import Bundle, read_bundle
from lehr.learn.detection.predictor import DetectionPredictor, load_detector
from lehr.learn.openvino_form import CHUNK, LANE_CHUNK, OpenvinoNet, cpu_precision
from lehr.learn.views import Run, averaged, unit

_TORCH_CHUNK_CUDA = 128
_MOST_LANES = 4


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A loaded model. Safe to call from several threads; the caller batches."""

    bundle: Bundle
    run: Run
    chunk: int
    """Most square crops in one call of `run`."""
    form: str
    """"openvino bf16", "openvino f32", "torch cpu", "torch cuda:0", …"""
    lanes: int = 1
    """Calls of `predict` that it computes best at once."""

    @classmethod
    def load(
        cls, folder: Path, device: str = "auto", threads: int | None = None, lanes: int = 1
    ) -> Predictor | DetectionPredictor:
        """Opens a model folder. "auto": the first CUDA device, else the CPU, where `lanes` calls may share the threads.

        Raises BundleDamaged when the folder is no whole model.
        """
        bundle = read_bundle(folder)
        on_cpu = device == "cpu" or (device == "auto" and not _has_cuda())
        if bundle.output == "detections":
            return load_detector(bundle, on_cpu, device, threads)
        if on_cpu and bundle.serving["form"] == "openvino":
            allowed = bundle.serving["precision"]
            precision = allowed if allowed == "f32" or cpu_precision() == "bf16" else "f32"
            run = OpenvinoNet(folder, precision, threads, lanes)
            chunk = CHUNK if lanes == 1 else LANE_CHUNK
            return cls(bundle=bundle, run=run, chunk=chunk, form=f"openvino {precision}", lanes=lanes)
        return _load_torch(bundle, device, threads)

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
    """Whether an NVIDIA driver is there and shows a GPU to this process, without importing torch."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return False
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()


def _load_torch(bundle: Bundle, device: str, threads: int | None) -> Predictor:
    import torch
    from safetensors.torch import load_file

    from lehr.learn.device import choose_device
    from lehr.learn.nets.catalogue import build
    from lehr.learn.serving_net import ServingNet, run

    chosen = choose_device(device, threads)
    chosen.prepare(are_shapes_fixed=False)
    net = build(bundle.details["net"]["name"], bundle.details["net"]["arguments"])
    net.load_state_dict(load_file(bundle.folder / "model.safetensors"))
    net = net.to(memory_format=torch.channels_last)
    serving = ServingNet(net, bundle.preprocessing, bundle.details["activation"]).to(chosen.name)
    return Predictor(
        bundle=bundle,
        run=lambda crops: run(serving, crops, chosen),
        chunk=bundle.preprocessing.at_once(_TORCH_CHUNK_CUDA) if chosen.is_cuda else CHUNK,
        form=f"torch {chosen.name}",
    )
