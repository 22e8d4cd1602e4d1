"""Real pictures of ten kinds, small enough to train on in seconds: scikit-learn's digits as PNG files."""

from __future__ import annotations

from pathlib import Path

import pytest

from lehr.settings import share_cores

share_cores()


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 1797 digits in ten class folders."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits, root = load_digits(), tmp_path_factory.mktemp("digits")
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        folder = root / str(label)
        folder.mkdir(exist_ok=True)
        Image.fromarray((image * 255 / 16).astype("uint8")).save(folder / f"{number:04d}.png")
    return root


@pytest.fixture(scope="session")
def packs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packs")
