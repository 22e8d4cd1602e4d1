"""The database: SQLite in one file, or PostgreSQL by URL. Opens it, migrates it, hands out transactions.

Holds no SQL of any noun. A read sees one moment however long it lasts; a write is one transaction, and on SQLite it
takes the write lock when it begins, because a lock taken half-way fails at once under contention.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, OperationalError, SQLAlchemyError

from lehr.errors import InvalidRequest, StoreUnusable
from lehr.store.tables import REVISION

__all__ = ["Database"]

BUSY_SECONDS = 30
READERS = 8


class Database:
    """One store. Safe to share between threads; a process that forks opens its own.

    `url` is `sqlite:///PATH` or `postgresql://…`; anything else raises StoreUnusable. On SQLite a write waits at most
    `busy_seconds` for other processes' writes, and then raises OperationalError.
    """

    def __init__(self, url: str, *, busy_seconds: float = BUSY_SECONDS) -> None:
        self.url = _parsed(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._writing = threading.local()
        if self.is_sqlite:
            path = Path(self.url.database or "")
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer, self._reader = _open_sqlite(self.url, busy_seconds)
        else:
            self._writer, self._reader = _open_postgresql(self.url)

    @property
    def path(self) -> Path | None:
        """The file of an SQLite store; None on PostgreSQL."""
        return Path(self.url.database) if self.is_sqlite and self.url.database else None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read-only view of one moment."""
        with _storable(), self._reader.connect() as tx, tx.begin():
            yield tx

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back by an exception. Not to be nested in one thread."""
        assert not getattr(self._writing, "now", False), "db.write() inside db.write(): pass the outer tx on instead"
        self._writing.now = True
        try:
            with _storable(), self._writer.begin() as tx:
                yield tx
        finally:
            self._writing.now = False

    def answers(self) -> bool:
        """Whether a read succeeds now."""
        try:
            with self.read() as tx:
                return tx.exec_driver_sql("SELECT 1").scalar() == 1
        except SQLAlchemyError:
            return False

    def upgrade(self) -> None:
        """Brings the schema up to date. Several processes may do so at once.

        Raises StoreUnusable on a newer schema, and for a database that cannot be reached or opened.
        """
        try:
            is_current = self._is_current()
        except OperationalError as error:
            shown = self.url.render_as_string(hide_password=True)
            raise StoreUnusable(f"the database {shown} cannot be used: {error.orig}") from error
        if not is_current:
            from lehr.store.migration import upgrade  # importing Alembic costs 0.3 s and is seldom needed

            upgrade(self)

    def _is_current(self) -> bool:
        with self.read() as tx:
            if not inspect(tx).has_table("alembic_version"):
                return False
            return tx.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == REVISION

    def close(self) -> None:
        """Closes every idle connection."""
        self._reader.dispose()
        self._writer.dispose()


@contextmanager
def _storable() -> Iterator[None]:
    """PostgreSQL takes no NUL in a text, SQLite does: such a request is a mistake of the caller's, not of ours."""
    try:
        yield
    except DataError as error:
        raise InvalidRequest(f"the request holds a value that cannot be stored or looked for: {error.orig}") from error


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreUnusable(
            f"database URL {url!r} cannot be read; use sqlite:///PATH or postgresql://USER@HOST/NAME"
        ) from error
    backend = parsed.get_backend_name()
    if backend == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    shown = parsed.render_as_string(hide_password=True)
    raise StoreUnusable(
        f"database URL {shown!r} is of no kind that Lehr stores in; use sqlite:///PATH or postgresql://USER@HOST/NAME"
    )


def _open_sqlite(url: URL, busy_seconds: float) -> tuple[Engine, Engine]:
    """One connection that writes, for which threads queue (fairer than SQLite's own waiting), and several that read."""
    options: dict[str, Any] = {"connect_args": {"timeout": busy_seconds, "check_same_thread": False}}
    writer = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=4 * busy_seconds, **options)
    reader = create_engine(url, pool_size=READERS, max_overflow=4 * READERS, **options)
    for engine, begin, query_only in ((writer, "BEGIN IMMEDIATE", "OFF"), (reader, "BEGIN", "ON")):
        _prepare(engine, begin, query_only)
    return writer, reader


def _prepare(engine: Engine, begin: str, query_only: str) -> None:
    @event.listens_for(engine, "connect")
    def connect(connection: Any, record: object) -> None:
        connection.isolation_level = None  # we begin transactions ourselves
        _switch_to_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA query_only={query_only}")

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def _switch_to_wal(connection: Any) -> None:
    """Write-ahead logging, once per file. SQLite does not wait for others here by itself, so we do: while another
    process opens the file first, recovers it after a crash, or closes it last."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
                return
            connection.execute("PRAGMA journal_mode=WAL")
        except Exception as error:  # the driver's own class, reached through SQLAlchemy's adapter
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _open_postgresql(url: URL) -> tuple[Engine, Engine]:
    engine = create_engine(url, pool_size=READERS, max_overflow=3 * READERS, pool_pre_ping=True)
    reader = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return engine, reader
