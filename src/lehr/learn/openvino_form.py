"""A trained network as OpenVINO runs it on a CPU: half the memory and twice the speed of torch, without torch.

Made through ONNX. The same file serves in bfloat16 and in float32; which of the two is allowed is decided by comparing
its outputs with torch's on real pictures, see bundle.py. Importing this module imports neither torch nor OpenVINO.
"""

from __future__ import annotations

import warnings
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lehr.learn.preprocessing import Preprocessing
    from lehr.learn.serving_net import ServingNet

CHUNK = 8
"""Crops per call; nothing is faster by more than chance, see docs/benchmarks.md."""
LANE_CHUNK = 4
"""The same, in each of several lanes."""
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
    """A folder's network compiled for this CPU. Safe to call from many threads.

    `lanes`: calls that are computed at once, each with its share of the threads. With one, a lone call is answered
    soonest; with more, no thread waits for another within a layer, and much work is done sooner.
    """

    def __init__(self, folder: Path, precision: str, threads: int | None = None, lanes: int = 1) -> None:
        import openvino

        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
        if lanes > 1:
            options |= {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": str(lanes)}
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        self._model = openvino.Core().compile_model(folder / OPENVINO_FILE, "CPU", options)
        self._idle: deque[Any] = deque()  # kept: to make one takes a tenth as long as to answer eight crops

    def __call__(self, views_NHWC: np.ndarray) -> np.ndarray:
        """uint8 [N, H, W, 3] -> float32 [N, K], the only output; crops of one side, or rectangles where exported so."""
        [outputs_NK] = self.outputs(views_NHWC)
        return outputs_NK

    def outputs(self, views_NHWC: np.ndarray) -> list[np.ndarray]:
        """uint8 [N, H, W, 3] -> every output, float32 [N, ...]."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._model.create_infer_request()
        found = request.infer([np.ascontiguousarray(views_NHWC)], share_inputs=True)
        outputs = [np.array(found[index], dtype=np.float32) for index in range(len(found))]
        self._idle.append(request)
        return outputs


def cpu_precision() -> str:
    """ "bf16" where this CPU computes it in hardware, else "f32"."""
    import openvino

    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if "BF16" in capabilities else "f32"
