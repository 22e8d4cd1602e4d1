"""A trained model computed by torch: on a GPU, or on the processor where it has no OpenVINO form."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from lehr.learn.detection.predictor import DetectionPredictor
from lehr.learn.device import Device, choose_device, give_back_memory
from lehr.learn.nets.catalogue import build
from lehr.learn.openvino_form import CHUNK
from lehr.learn.out_of_memory import is_out_of_memory
from lehr.learn.predictor import AnyPredictor, Predictor
from lehr.learn.serving_net import ServingNet, run
from lehr.learn.told_once import warn_once

if TYPE_CHECKING:
    from lehr.learn.bundle import Bundle

_MOST_CROPS, _FEWEST_CROPS = 128, 8
_BYTES_PER_CROP = 16 << 20
"""Of 224 x 224 pixels: what the layers of a large network take for one while they answer many."""
_SHARE = 1 / 16
"""Of a GPU's memory, for one chunk: torch keeps it until the predictor is idle, and trainings need the rest."""


def on_device(bundle: Bundle, device: Device) -> AnyPredictor:
    """The network of model.safetensors on this very device, in its precision."""
    return _predictor(bundle, trained_net(bundle), device)


def trained_net(bundle: Bundle) -> nn.Module:
    """The network with its weights, on the processor, in evaluation mode."""
    net = build(bundle.details["net"]["name"], bundle.details["net"]["arguments"])
    net.load_state_dict(load_file(bundle.folder / "model.safetensors"))
    return net.eval()


def load_with_torch(bundle: Bundle, device: str, threads: int | None = None) -> AnyPredictor:
    """The model on the device of this name. Raises InvalidRequest when there is none, torch's errors where it fails."""
    chosen = as_evaluated(bundle, choose_device(device, threads))
    chosen.prepare(are_shapes_fixed=False)
    return on_device(bundle, chosen)


def load_on_gpu(bundle: Bundle, threads: int | None = None) -> AnyPredictor | None:
    """The model on the freest GPU, once it has answered there; None, with a line in the log, where it cannot."""
    chosen = as_evaluated(bundle, choose_device("auto", threads))
    otherwise = "models are served on the processor. `lehr doctor` says what to mend"
    if not chosen.is_cuda:
        warn_once(f"There is a GPU, but torch {torch.__version__} cannot compute on it: {otherwise}.")
        return None
    found = _tried(bundle, trained_net(bundle), chosen)
    if isinstance(found, Exception):
        # only here is what failed out of memory: an error keeps alive what the functions it came through worked with
        if is_out_of_memory(found):
            give_back_memory()
            otherwise = "what could not be loaded is served on the processor"
        warn_once(f"A model could not be loaded on {chosen.name} ({str(found).splitlines()[0]}): {otherwise}.")
        return None
    give_back_memory()
    return found


def as_evaluated(bundle: Bundle, device: Device) -> Device:
    """The device in the precision that the model's figures hold for: bfloat16 only where its training computed so.

    On the processor, and for models that were not trained here or do not say, it is what was compared with float32 and
    accepted.
    """
    accepted = bundle.serving["precision"]
    trained = bundle.details.get("device", {}).get("precision", accepted)
    return replace(device, is_bf16=device.is_bf16 and (trained if device.is_cuda else accepted) == "bf16")


def crops_at_once(memory_bytes: int) -> int:
    """How many crops of 224 x 224 pixels a GPU with so much memory is given at a time."""
    return max(_FEWEST_CROPS, min(_MOST_CROPS, int(_SHARE * memory_bytes) // _BYTES_PER_CROP))


def _tried(bundle: Bundle, net: nn.Module, device: Device) -> AnyPredictor | Exception:
    """The model after a first answer; or the error of the GPU, which it does not take with it."""
    side = bundle.preprocessing.image_size
    try:
        device.prepare(are_shapes_fixed=False)
        found = _predictor(bundle, net, device)
        found.predict([np.zeros((side, side, 3), np.uint8)])
    except RuntimeError as error:  # torch.OutOfMemoryError, torch.AcceleratorError, and what cuDNN and cuBLAS raise
        return error.with_traceback(None)
    return found


def _predictor(bundle: Bundle, net: nn.Module, device: Device) -> AnyPredictor:
    form = f"torch {device.name} {device.precision}"
    give_back = give_back_memory if device.is_cuda else _nothing
    if bundle.output == "detections":
        from lehr.learn.detection.retinanet import RetinaNet
        from lehr.learn.detection.torch_detector import TorchDetector

        assert isinstance(net, RetinaNet), f"{bundle.details['net']['name']} is no detector"
        find = TorchDetector(net, bundle.preprocessing, device)
        return DetectionPredictor(bundle=bundle, find=find, form=form, give_back=give_back)
    placed = device.place(net)
    serving = ServingNet(placed, bundle.preprocessing, bundle.details["activation"]).to(device.name)
    return Predictor(
        bundle=bundle,
        run=lambda crops: run(serving, crops, device),
        chunk=_chunk(bundle, device),
        form=form,
        give_back=give_back,
    )


def _chunk(bundle: Bundle, device: Device) -> int:
    if not device.is_cuda:
        return CHUNK
    memory_bytes = torch.cuda.get_device_properties(device.name).total_memory
    return bundle.preprocessing.at_once(crops_at_once(memory_bytes))


def _nothing() -> None:
    """The processor's memory is given back as it gets free."""
