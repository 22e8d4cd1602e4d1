"""The cache of unpacked bundles: filled from the blobs, and rid of what killed processes left in it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from lehr.services.bundles import ABANDONED_SECONDS, Bundles
from lehr.store.blobs import LocalBlobs
from lehr.store.db import Database


def test_unpacking_gives_the_folder_back_and_clears_halves_that_were_left_long_ago(tmp_path: Path):
    bundles = Bundles(
        db=Database(f"sqlite:///{tmp_path / 'lehr.db'}"),
        blobs=LocalBlobs(tmp_path / "blobs"),
        cache=tmp_path / "bundles",
    )
    trained = tmp_path / "trained"
    (trained / "form").mkdir(parents=True)
    (trained / "model.json").write_text("{}")
    (trained / "form" / "model.bin").write_bytes(b"weights")
    sha, size = bundles.pack(trained)
    assert bundles.blobs.size(sha) == size
    left(bundles.cache / "abc-old", ABANDONED_SECONDS + 60)
    left(bundles.cache / "abc-new", 5)
    (bundles.cache / "old.zip").write_bytes(b"PK")
    aged(bundles.cache / "old.zip", ABANDONED_SECONDS + 60)

    bundles._unpack(sha, bundles.cache / sha)

    found = {path.relative_to(bundles.cache / sha).as_posix() for path in (bundles.cache / sha).rglob("*.*")}
    assert found == {"model.json", "form/model.bin"}
    assert {path.name for path in bundles.cache.iterdir()} == {sha, "abc-new"}


def left(folder: Path, seconds_ago: float) -> None:
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"half")
    aged(folder, seconds_ago)


def aged(path: Path, seconds: float) -> None:
    moment = time.time() - seconds
    os.utime(path, (moment, moment))
