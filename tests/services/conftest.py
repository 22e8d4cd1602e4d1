"""A real store, real blobs and a real queue in a temporary folder, with one user and two apps."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lehr.jobs.queue import Queue
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store import apps, users
from lehr.store.blobs import LocalBlobs
from lehr.store.db import Database


@pytest.fixture
def ref() -> AppRef:
    return AppRef("ana", "flowers")


@pytest.fixture
def other_ref() -> AppRef:
    return AppRef("ana", "cars")


@pytest.fixture
def db(tmp_path: Path, ref: AppRef, other_ref: AppRef) -> Iterator[Database]:
    db = Database(f"sqlite:///{tmp_path / 'lehr.db'}")
    db.upgrade()
    with db.write() as tx:
        users.insert(tx, resources_pb2.User(id=ref.user_id))
        for app in (ref, other_ref):
            apps.insert(tx, resources_pb2.App(id=app.app_id, user_id=app.user_id, name=app.app_id))
    yield db
    db.close()


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "blobs")


@pytest.fixture
def queue(db: Database) -> Queue:
    return Queue(db)


def picture(width: int = 40, height: int = 30, seed: int = 0, kind: str = "PNG") -> bytes:
    """The bytes of a noisy picture."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


@pytest.fixture(name="picture")
def picture_fixture():
    return picture
