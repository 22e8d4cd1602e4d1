"""Where a test runs: on the processor always, so that the test itself is known to work, and on a GPU (`-m gpu`)."""

import pytest
import torch

GPU = pytest.param(
    "cuda:0",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
)
DEVICES = ["cpu", GPU]
