"""A trained network as OpenVINO runs it on a CPU: half the memory and twice the speed of torch, without torch.

Made through ONNX. The same file serves in bfloat16 and in float32; which of the two is allowed is decided by comparing
its outputs with torch's on real pictures, see bundle.py. Importing this module imports neither torch nor OpenVINO.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lehr.learn.preprocessing import Preprocessing
    from lehr.learn.serving_net import ServingNet

CHUNK = 8
"""Crops per call: the fastest on CPUs, measured in docs/benchmarks.md."""
ONNX_FILE, OPENVINO_FILE = "model.onnx", "openvino.xml"


def export(net: ServingNet, before: Preprocessing, folder: Path) -> None:
    """Writes `model.onnx` and `openvino.xml` + `.bin` into `folder`, for any number of crops, or of rectangles of any
    size where whole pictures are seen."""
    import openvino
    import torch

    size = (before.image_size, 2 * before.image_size) if before.are_whole else (before.side, before.side)
    free = {0: "n", 1: "height", 2: "width"} if before.are_whole else {0: "n"}
    example = torch.zeros(2, *size, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter announces its successor, which needs another package
        torch.onnx.export(
            net.cpu(),
            (example,),
            str(folder / ONNX_FILE),
            input_names=["pixels"],
            output_names=["outputs"],
            dynamic_axes={"pixels": free, "outputs": {0: "n"}},
            opset_version=17,
            dynamo=False,
        )
    openvino.save_model(openvino.convert_model(folder / ONNX_FILE), folder / OPENVINO_FILE, compress_to_fp16=False)


class OpenvinoNet:
    """uint8 [N, H, W, 3] -> float32 [N, K]; crops of one side, or rectangles where it was exported for these."""

    def __init__(self, folder: Path, precision: str, threads: int | None = None) -> None:
        import openvino

        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        self.model = openvino.Core().compile_model(folder / OPENVINO_FILE, "CPU", options)

    def __call__(self, views_NHWC: np.ndarray) -> np.ndarray:
        """One call of at most CHUNK crops is fastest; thread-safe through requests of its own."""
        request = self.model.create_infer_request()
        return np.array(request.infer([np.ascontiguousarray(views_NHWC)])[0], dtype=np.float32)


def cpu_precision() -> str:
    """ "bf16" where this CPU computes it in hardware, else "f32"."""
    import openvino

    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if "BF16" in capabilities else "f32"
