"""What is left of a blob when its writer is killed, and how it is cleared away."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store import apps, inputs, users
from lehr.store.blobs import LocalBlobs
from lehr.store.db import Database
from lehr.store.sweep import sweep

HALF = b"0" * (1 << 21)


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "blobs")


def test_a_writer_killed_half_way_leaves_no_blob(blobs: LocalBlobs, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from lehr.store.blobs import LocalBlobs\n"
        "class Slow:\n"
        "    parts = [b'0' * (1 << 20)] * 2\n"
        "    def read(self, size):\n"
        "        if self.parts: return self.parts.pop()\n"
        "        print('half', flush=True); time.sleep(600)\n"
        "LocalBlobs(Path(sys.argv[1])).put(Slow())"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "blobs")], stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "half\n"
    writer.kill()
    writer.communicate()
    assert list(blobs.list()) == []
    assert not blobs.exists(hashlib.sha256(HALF).hexdigest())
    assert blobs.clear_partial(3600) == 0
    assert blobs.clear_partial(-1) == 1
    assert blobs.read(blobs.put(HALF)) == HALF


def test_a_source_that_breaks_off_leaves_nothing(blobs: LocalBlobs, tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= 1000:
                raise ConnectionError("the client went away")
            return super().read(1000)

    with pytest.raises(ConnectionError):
        blobs.put(Broken(bytes(5000)))
    assert list(blobs.list()) == []
    assert list((tmp_path / "blobs" / "partial").iterdir()) == []


def test_a_blob_is_synced_before_it_has_its_name_and_its_folder_after(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace
    target = lambda descriptor: Path(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: E731
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: (order.append(f"sync {target(descriptor).parent.name}"), fsync(descriptor))
    )
    monkeypatch.setattr(Path, "replace", lambda self, other: (order.append("rename"), replace(self, other)))
    sha = blobs.put(b"data")
    assert order == ["sync partial", "rename", "sync blobs"], "the shelf itself was synced when it was made"
    order.clear()
    blobs.put(b"data")
    assert order == ["sync blobs"], "another process may have renamed it a moment ago"
    assert blobs.exists(sha)


def test_a_put_and_a_delete_never_cross(blobs: LocalBlobs) -> None:
    """Whoever was told that its blob is safe finds it, however hard others try to delete old ones."""
    over = threading.Event()
    sha = blobs.put(b"contended")

    def age_and_delete() -> None:
        while not over.is_set():
            path = blobs._path(sha)
            blobs.delete(sha, unless_put_within=1000)
            del path

    deleter = threading.Thread(target=age_and_delete)
    deleter.start()
    try:
        for _ in range(200):
            long_ago = time.time() - 10_000
            try:
                os.utime(blobs._path(sha), (long_ago, long_ago))
            except FileNotFoundError:
                pass
            blobs.put(b"contended")
            assert blobs.read(sha) == b"contended"
    finally:
        over.set()
        deleter.join()


@pytest.fixture
def db(tmp_path: Path):
    database = Database(f"sqlite:///{tmp_path / 'lehr.db'}")
    database.upgrade()
    with database.write() as tx:
        users.insert(tx, resources_pb2.User(id="ann"))
        apps.insert(tx, resources_pb2.App(id="zoo", user_id="ann"))
    yield database
    database.close()


def test_a_crash_between_blob_and_row_leaves_a_blob_that_is_swept_and_never_a_row_without_bytes(
    db: Database, blobs: LocalBlobs
) -> None:
    named, orphan, young = blobs.put(b"named"), blobs.put(b"orphan"), blobs.put(b"young")
    with db.write() as tx:
        inputs.insert(
            tx, AppRef("ann", "zoo"), [inputs.NewInput(message=resources_pb2.Input(id="i"), content_sha=named)]
        )
    with pytest.raises(RuntimeError), db.write() as tx:  # noqa: PT012
        inputs.insert(
            tx, AppRef("ann", "zoo"), [inputs.NewInput(message=resources_pb2.Input(id="j"), content_sha=orphan)]
        )
        raise RuntimeError("killed before the commit")
    long_ago = time.time() - 7200
    for sha in (named, orphan):
        os.utime(blobs.local_path(sha), (long_ago, long_ago))
    assert sweep(db, blobs) == 1
    assert sorted(blobs.list()) == sorted([named, young])
    assert sweep(db, blobs, grace_seconds=0) == 1
    assert list(blobs.list()) == [named]
