"""A server for the stories, and real pictures to feed it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lehr_server import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all stories that do not hurt it."""
    running = Server(tmp_path_factory.mktemp("story") / "home", {"LEHR_FETCH_ALLOW": "127.0.0.1/32"}).start()
    yield running
    running.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server that a test may kill; not started yet."""
    one = Server(tmp_path / "home")
    yield one
    one.stop()


@pytest.fixture(scope="session")
def digits() -> Callable[[int], list[tuple[str, str, bytes]]]:
    """`digits(n)`: the first n of scikit-learn's digits as (id, concept, PNG)."""
    from PIL import Image
    from sklearn.datasets import load_digits

    loaded = load_digits()

    def first(number: int) -> list[tuple[str, str, bytes]]:
        made = []
        for index in range(number):
            file = io.BytesIO()
            Image.fromarray((loaded.images[index] * 15.9375).astype("uint8")).save(file, "PNG")
            made.append((f"digit{index:04d}", f"digit-{loaded.target[index]}", file.getvalue()))
        return made

    return first
