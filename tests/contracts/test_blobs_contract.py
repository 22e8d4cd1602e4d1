"""Blobs by content, in files and in an S3 that really answers."""

from __future__ import annotations

import hashlib
import io
import os
import time
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lehr.errors import NotFound, StoreUnusable
from lehr.store.blobs import Blobs, LocalBlobs, open_blobs
from lehr.store.object_blobs import ObjectBlobs

ABSENT = hashlib.sha256(b"never put").hexdigest()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    moto = pytest.importorskip("moto.server", reason="S3 tests need: uv pip install 'moto[server]'")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture(params=["files", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Blobs:
    if request.param == "files":
        return open_blobs("", tmp_path)
    endpoint, bucket = request.getfixturevalue("s3_endpoint"), f"b{uuid.uuid4().hex}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{bucket}", method="PUT")).close()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return open_blobs(f"s3://{bucket}/some/where?endpoint={endpoint}&region=us-east-1", tmp_path)


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 20_000], ids=["empty", "one byte", "5 MB"])
def test_what_was_put_is_read_back_under_its_sha256(blobs: Blobs, data: bytes) -> None:
    sha = blobs.put(data)
    assert sha == hashlib.sha256(data).hexdigest() == blobs.put(io.BytesIO(data))
    assert blobs.read(sha) == data
    assert blobs.size(sha) == len(data)
    assert blobs.exists(sha)
    assert list(blobs.list()) == [sha]


def test_a_blob_opens_as_a_seekable_file(blobs: Blobs) -> None:
    data = bytes(range(256)) * 10_000
    with blobs.open(blobs.put(data)) as file:
        assert file.read(10) == data[:10]
        file.seek(1_000_000)
        assert file.tell() == 1_000_000
        assert file.read() == data[1_000_000:]
        file.seek(-5, io.SEEK_END)
        assert file.read() == data[-5:]


def test_only_the_rest_of_an_open_file_is_put(blobs: Blobs) -> None:
    file = io.BytesIO(b"head and tail")
    file.seek(9)
    assert blobs.read(blobs.put(file)) == b"tail"


def test_many_are_put_in_order_even_when_some_are_equal(blobs: Blobs) -> None:
    data = [b"%d" % (number % 20) for number in range(50)]
    shas = blobs.put_many(data)
    assert shas == [hashlib.sha256(one).hexdigest() for one in data]
    assert len(list(blobs.list())) == 20
    assert blobs.put_many([]) == []


def test_what_is_not_there_is_said_to_be_missing(blobs: Blobs) -> None:
    assert not blobs.exists(ABSENT)
    assert not blobs.delete(ABSENT)
    for ask in (blobs.open, blobs.read, blobs.size, blobs.local_path):
        with pytest.raises(NotFound, match=ABSENT):
            ask(ABSENT)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "a" * 63, "A" * 64, "g" * 64])
def test_no_other_string_becomes_a_path(blobs: Blobs, name: str) -> None:
    for ask in (blobs.open, blobs.read, blobs.size, blobs.exists, blobs.delete, blobs.local_path):
        with pytest.raises(NotFound, match="64 hexadecimal"):
            ask(name)


def test_a_delete_spares_what_was_put_a_moment_ago(blobs: Blobs) -> None:
    sha = blobs.put(b"fresh")
    assert not blobs.delete(sha, unless_put_within=3600)
    assert blobs.exists(sha)
    assert blobs.delete(sha)
    assert not blobs.exists(sha)
    assert blobs.read(blobs.put(b"fresh")) == b"fresh"


def test_the_same_bytes_put_by_many_at_once_are_one_whole_blob(blobs: Blobs) -> None:
    data = bytes(1_000_000)
    with ThreadPoolExecutor(8) as pool:
        shas = set(pool.map(lambda _: blobs.put(data), range(16)))
    assert len(shas) == 1
    assert blobs.read(shas.pop()) == data


def test_a_local_path_is_a_file_of_these_bytes_or_none(blobs: Blobs) -> None:
    path = blobs.local_path(blobs.put(b"bytes"))
    assert (path is None) == isinstance(blobs, ObjectBlobs)
    if path is not None:
        assert path.read_bytes() == b"bytes"


def test_putting_an_old_blob_again_makes_it_young(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    sha = blobs.put(b"old")
    long_ago = time.time() - 10_000
    os.utime(blobs.local_path(sha), (long_ago, long_ago))
    blobs.put(b"old")
    assert not blobs.delete(sha, unless_put_within=3600)


def test_a_url_of_no_known_kind_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match="s3://"):
        open_blobs("ftp://host/folder", tmp_path)
    assert isinstance(open_blobs(f"file://{tmp_path}/my%20files", tmp_path), LocalBlobs)
    assert (tmp_path / "my files").is_dir()


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    for sha in (*blobs.put_many([b"one", b"two"]), blobs.put(io.BytesIO(b"three"))):
        path = blobs.local_path(sha)
        assert path is not None
        assert path.stat().st_mode & 0o077 == 0
