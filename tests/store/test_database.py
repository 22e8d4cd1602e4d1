"""Opening, migrating and reading an SQLite store."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import String, Text, inspect, text
from sqlalchemy.exc import OperationalError

import lehr.store.db
import lehr.store.migration
from lehr.errors import StoreUnusable
from lehr.protocol import resources_pb2
from lehr.store import tables, users
from lehr.store.backup import backup
from lehr.store.db import Database
from lehr.store.sweep import NAMED_BY


@pytest.fixture
def db(tmp_path: Path):
    database = Database(f"sqlite:///{tmp_path / 'home' / 'lehr.db'}")
    database.upgrade()
    yield database
    database.close()


def _user_ids(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM users ORDER BY key")]


def test_the_migrations_lead_to_exactly_the_tables_of_the_code(db: Database) -> None:
    with db.read() as tx:
        assert compare_metadata(MigrationContext.configure(tx), tables.METADATA) == []
    assert ScriptDirectory(str(lehr.store.migration.SCRIPTS)).get_current_head() == tables.REVISION


def test_every_commit_is_on_the_disk_and_every_reference_is_checked(db: Database) -> None:
    for transaction in (db.write, db.read):
        with transaction() as tx:
            pragmas = [
                tx.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
        assert pragmas == ["wal", 2, 1]


def test_a_read_sees_one_moment_and_cannot_write(db: Database) -> None:
    with db.read() as before:
        assert users.count(before) == 0
        with db.write() as tx:
            users.insert(tx, resources_pb2.User(id="ann"))
        assert users.count(before) == 0
        with pytest.raises(OperationalError):
            users.insert(before, resources_pb2.User(id="bob"))
    with db.read() as after:
        assert users.count(after) == 1


def test_an_exception_undoes_the_whole_transaction(db: Database) -> None:
    with pytest.raises(KeyError), db.write() as tx:  # noqa: PT012
        users.insert(tx, resources_pb2.User(id="ann"))
        raise KeyError
    with db.read() as tx:
        assert users.count(tx) == 0


def test_a_write_inside_a_write_is_a_bug_and_says_so(db: Database) -> None:
    with db.write(), pytest.raises(AssertionError, match="outer tx"), db.write():
        pass
    with db.write():
        pass


def test_many_threads_write_without_an_error(db: Database) -> None:
    def add(number: int) -> None:
        for one in range(20):
            with db.write() as tx:
                users.insert(tx, resources_pb2.User(id=f"u{number}-{one}"))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with db.read() as tx:
        assert users.count(tx) == 160


def test_processes_that_start_together_all_find_a_ready_store(tmp_path: Path) -> None:
    code = (
        "import sys; from lehr.store.db import Database; from lehr.store import users; db = Database(sys.argv[1]);"
        "print('up', flush=True); sys.stdin.readline(); db.upgrade()\n"
        "with db.read() as tx: print(users.count(tx))"
    )
    url = f"sqlite:///{tmp_path / 'lehr.db'}"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([sys.executable, "-c", code, url], **pipes) for _ in range(3)]
    for process in started:
        assert process.stdout.readline() == "up\n"
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=120)[0] for process in started] == ["0\n"] * 3
    assert [process.returncode for process in started] == [0] * 3


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The migrations of a Lehr that is one revision ahead."""
    scripts = tmp_path / "scripts"
    shutil.copytree(lehr.store.migration.SCRIPTS, scripts)
    (scripts / "versions" / "9999_next.py").write_text(
        f"revision = '9999'\ndown_revision = '{tables.REVISION}'\n\n\ndef upgrade():\n"
        "    from alembic import op\n\n    op.execute('ALTER TABLE users ADD COLUMN shoe_size INTEGER')\n"
    )
    monkeypatch.setattr(lehr.store.migration, "SCRIPTS", scripts)
    monkeypatch.setattr(lehr.store.db, "REVISION", "9999")
    return scripts


def test_a_store_is_copied_before_its_schema_changes(db: Database, newer: Path) -> None:
    with db.write() as tx:
        users.insert(tx, resources_pb2.User(id="ann"))
    db.upgrade()
    with db.read() as tx:
        assert "shoe_size" in {column["name"] for column in inspect(tx).get_columns("users")}
    copy = db.path.with_name("lehr.db.before-9999")
    assert _user_ids(copy) == ["ann"]
    with sqlite3.connect(copy) as connection:
        assert "shoe_size" not in {row[1] for row in connection.execute("PRAGMA table_info(users)")}
    assert not list(db.path.parent.glob("*.partial"))


def test_a_migration_that_fails_changes_nothing(db: Database, newer: Path) -> None:
    script = newer / "versions" / "9999_next.py"
    script.write_text(script.read_text() + "    op.execute('this is no SQL')\n")
    with pytest.raises(OperationalError):
        db.upgrade()
    with db.read() as tx:
        assert "shoe_size" not in {column["name"] for column in inspect(tx).get_columns("users")}
        assert tx.execute(text("SELECT version_num FROM alembic_version")).scalar() == tables.REVISION


def test_a_store_of_a_newer_lehr_is_refused_and_left_alone(db: Database) -> None:
    with db.write() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreUnusable, match=r"'9999'.*newer Lehr"):
        db.upgrade()


def test_a_backup_is_taken_from_a_living_store(db: Database, tmp_path: Path) -> None:
    with db.write() as tx:
        users.insert(tx, resources_pb2.User(id="ann"))
    with db.write() as tx:
        users.insert(tx, resources_pb2.User(id="uncommitted"))
        backup(db, tmp_path / "copy.db")
    assert _user_ids(tmp_path / "copy.db") == ["ann"]


@pytest.mark.parametrize("url", ["mysql://host/db", "sqlite://", "sqlite:///:memory:", "not a url"])
def test_a_url_of_no_known_kind_is_refused_with_those_there_are(url: str) -> None:
    with pytest.raises(StoreUnusable, match="sqlite:///PATH or postgresql://"):
        Database(url)


def test_a_refused_url_does_not_show_its_password() -> None:
    with pytest.raises(StoreUnusable) as refusal:
        Database("mysql://ann:secret@host/db")
    assert "secret" not in str(refusal.value)


def test_every_column_that_names_a_blob_is_known_to_the_sweep() -> None:
    named = {
        column
        for table in tables.METADATA.tables.values()
        for column in table.columns
        if isinstance(column.type, String) and not isinstance(column.type, Text) and column.type.length == 64
    }
    others = {
        tables.keys.c.secret_sha,
        tables.inputs.c.url_sha,
        tables.web_sessions.c.token_sha,
        tables.picture_signatures.c.picture,
        tables.blob_sizes.c.blob,
    }
    assert named - others == set(NAMED_BY)


def test_a_database_that_cannot_be_reached_is_told_in_a_sentence() -> None:
    with pytest.raises(StoreUnusable, match="cannot be used") as refused:
        Database("postgresql://me:secret@127.0.0.1:1/lehr").upgrade()
    assert "secret" not in str(refused.value)


def test_a_store_from_before_the_first_release_is_refused_in_a_sentence(tmp_path):
    """Its inputs lack what searches look up, and no rows of it are worth guessing them for."""
    address = f"sqlite:///{tmp_path / 'old.db'}"
    db = Database(address)
    db.upgrade()
    with db.write() as tx:
        tx.execute(text("DROP INDEX IF EXISTS ix_inputs_app_key_kind"))
        for name in tx.execute(
            text("SELECT name FROM sqlite_master WHERE type='index' AND sql LIKE '%kind%'")
        ).scalars():
            tx.execute(text(f'DROP INDEX "{name}"'))
        tx.execute(text("ALTER TABLE inputs DROP COLUMN kind"))
        tx.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    db.close()
    with pytest.raises(StoreUnusable, match="before the first release"):
        Database(address).upgrade()
