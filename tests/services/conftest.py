"""A real store, real blobs and a real queue in a temporary folder, with one user and two apps."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from index_shop import Shop
from PIL import Image
from small_embedder import make_base, publish, write_embedder

from lehr.jobs.queue import Queue
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.services.bases import Bases
from lehr.services.bundles import Bundles
from lehr.serving.decoders import DecoderPool
from lehr.serving.predictors import Predictors
from lehr.store import apps, users
from lehr.store.blobs import LocalBlobs
from lehr.store.db import Database
from lehr.store.versions import ModelVersionRef


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


@pytest.fixture
def bases(db: Database, blobs: LocalBlobs, tmp_path: Path) -> Bases:
    """What trainings may build on."""
    return Bases(db=db, bundles=Bundles(db=db, blobs=blobs, cache=tmp_path / "bundles"))


def picture(width: int = 40, height: int = 30, seed: int = 0, kind: str = "PNG") -> bytes:
    """The bytes of a noisy picture."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


@pytest.fixture(name="picture")
def picture_fixture():
    return picture


@pytest.fixture(scope="session")
def machines() -> Iterator[tuple[DecoderPool, Predictors]]:
    """A decoder process and a predictor process, started when first needed."""
    with DecoderPool(1) as decoders, Predictors(1) as predictors:
        yield decoders, predictors


@pytest.fixture(scope="session")
def embedder_folder(tmp_path_factory) -> Path:
    return write_embedder(tmp_path_factory.mktemp("embedder") / "bundle")


@pytest.fixture
def bare_shop(db, blobs, queue, machines, tmp_path, ref) -> Shop:
    """The services of one app that embeds nothing."""
    return Shop(db=db, blobs=blobs, queue=queue, machines=machines, home=tmp_path, ref=ref)


@pytest.fixture
def shop(bare_shop, embedder_folder) -> Shop:
    """The services of one app that embeds by colour."""
    shop = bare_shop
    vref = publish(shop.db, shop.bundles, embedder_folder, ModelVersionRef(shop.ref, "colours", "first"))
    make_base(shop.db, shop.ref, vref, "by-colour")
    return shop
