"""Pictures as bytes, and a real OpenVINO model in a folder, for the tests of serving."""

import io
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)  # `channel_means` is imported by the tests and, through PYTHONPATH, by predictor processes


@pytest.fixture
def photo():
    """A picture with a gradient in each channel: `photo(format, width, height)` gives its bytes."""

    def make(format_="JPEG", width=320, height=240):
        y, x = np.mgrid[0:height, 0:width]
        pixels = np.stack([255 * x / width, 255 * y / height, (x + y) % 256], -1).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format_)
        return buffer.getvalue()

    return make


@pytest.fixture
def eventually():
    """Waits for a claim to come true; fails the test when it does not."""

    def wait(claim, seconds=60):
        deadline = time.monotonic() + seconds
        while not claim():
            assert time.monotonic() < deadline, "it did not come true"
            time.sleep(0.02)

    return wait


@pytest.fixture(autouse=True, scope="session")
def _children_find_the_test_models():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", HERE, prepend=os.pathsep)
        yield


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """A folder with an OpenVINO model that answers the mean of each colour channel."""
    import openvino as ov
    from openvino import opset13 as op

    folder = tmp_path_factory.mktemp("channel-means")
    pixels = op.parameter([-1, -1, -1, 3], np.float32, name="pixels")
    means = op.reduce_mean(pixels, op.constant(np.array([1, 2], np.int64)), keep_dims=False)
    ov.save_model(ov.Model([means], [pixels]), folder / "model.xml")
    return folder
