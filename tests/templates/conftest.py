"""Real pictures of ten kinds, small enough to train on in seconds: scikit-learn's digits as PNG files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lehr.settings import share_cores

sys.path.insert(0, str(Path(__file__).parent))
share_cores()


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 1797 digits in ten class folders."""
    from PIL import Image
    from sklearn.datasets import load_digits

    known, root = load_digits(), tmp_path_factory.mktemp("digits")
    for number, (image, label) in enumerate(zip(known.images, known.target, strict=True)):
        folder = root / str(label)
        folder.mkdir(exist_ok=True)
        Image.fromarray((image * 255 / 16).astype("uint8")).save(folder / f"{number:04d}.png")
    return root


@pytest.fixture(scope="session")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packs")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests ask no hub for weights."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
