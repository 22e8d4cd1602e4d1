"""A predictor for tests, loaded inside the predictor process: a real OpenVINO model, and ways to go wrong."""

import os
import signal
from pathlib import Path

import numpy as np

from lehr.errors import UndecodableImage

REFUSED, DEADLY, OUT_OF_MEMORY = 13, 66, 99  # the value of a picture's first byte


class ChannelMeans:
    """Answers [mean red, mean green, mean blue]. What it refuses stands in its pictures' first byte."""

    chunk = 4

    def __init__(self, folder):
        import openvino as ov

        self._model = ov.Core().compile_model(folder / "model.xml", "CPU")
        self._log = folder / "chunks.txt"

    @classmethod
    def load(cls, folder: Path):
        with open(folder / "loads.txt", "a") as file:
            file.write(f"{os.getpid()}\n")
        return cls(folder)

    def predict(self, images):
        firsts = [int(image[0, 0, 0]) for image in images]
        with open(self._log, "a") as file:
            file.write(f"{len(images)}\n")
        if DEADLY in firsts:
            os.kill(os.getpid(), signal.SIGKILL)
        if OUT_OF_MEMORY in firsts and len(images) > 1:
            raise MemoryError("too many at once")
        if REFUSED in firsts:
            raise UndecodableImage("Thirteen is an unlucky number.")
        return list(self._model(np.stack(images).astype(np.float32))[0])
