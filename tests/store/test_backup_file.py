"""A store in one file, and back: into an empty home, with every blob that rows name, or not at all."""

from __future__ import annotations

import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from lehr.errors import StoreUnusable
from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.store import apps, inputs, users
from lehr.store.backup_file import restore, write
from lehr.store.blobs import LocalBlobs
from lehr.store.db import Database

REF = AppRef("ana", "flowers")
NUM = 20


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A store with twenty inputs, and a blob that nothing names."""
    folder = tmp_path / "home"
    blobs = LocalBlobs(folder / "blobs")
    with closing(Database(f"sqlite:///{folder / 'lehr.db'}")) as db:
        db.upgrade()
        with db.write() as tx:
            users.insert(tx, resources_pb2.User(id=REF.user_id))
            apps.insert(tx, resources_pb2.App(id=REF.app_id, user_id=REF.user_id, name="x"))
            rows = [
                inputs.NewInput(message=resources_pb2.Input(id=f"i{n}"), content_sha=blobs.put(b"picture %d" % n))
                for n in range(NUM)
            ]
            inputs.insert(tx, REF, rows)
    blobs.put(b"nobody's")
    return folder


def opened(home: Path) -> tuple[Database, LocalBlobs]:
    return Database(f"sqlite:///{home / 'lehr.db'}"), LocalBlobs(home / "blobs")


@pytest.fixture
def backup(home: Path, tmp_path: Path) -> Path:
    db, blobs = opened(home)
    with closing(db):
        done = write(db, blobs, tmp_path / "b.tar")
    assert (done.num_blobs, done.num_gone) == (NUM, 0)
    return tmp_path / "b.tar"


def contents(home: Path) -> dict[str, bytes]:
    db, blobs = opened(home)
    with closing(db), db.read() as tx:
        return {
            id_: blobs.read(item.content_sha)
            for id_, item in inputs.stored(tx, REF, [f"i{n}" for n in range(NUM)]).items()
        }


def test_everything_that_rows_name_comes_back_into_an_empty_home(home: Path, backup: Path, tmp_path: Path) -> None:
    assert backup.stat().st_mode & 0o777 == 0o600
    new = tmp_path / "new"
    done = restore(backup, new / "lehr.db", LocalBlobs(new / "blobs"))
    assert done.num_blobs == NUM
    assert contents(new) == contents(home) == {f"i{n}": b"picture %d" % n for n in range(NUM)}
    assert len(list(LocalBlobs(new / "blobs").list())) == NUM
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar", "home", "new"]


def test_a_home_that_holds_something_is_left_alone(home: Path, backup: Path) -> None:
    before = contents(home)
    with pytest.raises(StoreUnusable, match="exists already: restore into an empty home"):
        restore(backup, home / "lehr.db", LocalBlobs(home / "blobs"))
    assert contents(home) == before


def test_a_backup_taken_while_inputs_come_and_go_is_of_one_moment(home: Path, tmp_path: Path) -> None:
    db, blobs = opened(home)

    class Deleting(LocalBlobs):
        """Somebody deletes an input, and its blob is swept, after the rows were copied."""

        def size(self, sha: str) -> int:
            if self.exists(sha) and self.read(sha) == b"picture 7":
                self.delete(sha)
            return super().size(sha)

    with closing(db):
        done = write(db, Deleting(home / "blobs"), tmp_path / "b.tar")
    assert (done.num_blobs, done.num_gone) == (NUM - 1, 1)
    assert blobs.list()


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9])
def test_a_file_that_is_cut_off_makes_no_store_and_a_whole_one_still_does(
    backup: Path, tmp_path: Path, part: float
) -> None:
    data = backup.read_bytes()
    cut = tmp_path / "cut.tar"
    cut.write_bytes(data[: int(len(data) * part)])
    new = tmp_path / "new"
    with pytest.raises(StoreUnusable, match=r"cut|damaged|no backup"):
        restore(cut, new / "lehr.db", LocalBlobs(new / "blobs"))
    assert not (new / "lehr.db").exists()
    restore(backup, new / "lehr.db", LocalBlobs(new / "blobs"))
    assert len(contents(new)) == NUM


def test_damage_is_noticed_wherever_it_is(backup: Path, tmp_path: Path) -> None:
    data = backup.read_bytes()
    with tarfile.open(backup) as tar:
        places = [member.offset_data for member in (tar.getmembers()[3], tar.getmember("lehr.db"))]
    for number, place in enumerate(places):
        broken = bytearray(data)
        broken[place + 5] ^= 0xFF
        (tmp_path / "broken.tar").write_bytes(broken)
        new = tmp_path / f"new{number}"
        with pytest.raises(StoreUnusable, match="damaged"):
            restore(tmp_path / "broken.tar", new / "lehr.db", LocalBlobs(new / "blobs"))
        assert not (new / "lehr.db").exists()


def test_what_is_no_backup_or_a_newer_one_is_told(backup: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    (tmp_path / "text").write_text("hello" * 1000)
    with pytest.raises(StoreUnusable, match="no backup"):
        restore(tmp_path / "text", new / "lehr.db", LocalBlobs(new / "blobs"))
    newer = backup.read_bytes().replace(b'"format": 1', b'"format": 9')
    (tmp_path / "newer").write_bytes(newer)
    with pytest.raises(StoreUnusable, match="newer Lehr"):
        restore(tmp_path / "newer", new / "lehr.db", LocalBlobs(new / "blobs"))
    with pytest.raises(StoreUnusable, match="cannot be restored"):
        restore(tmp_path / "none", new / "lehr.db", LocalBlobs(new / "blobs"))
