"""A consistent copy of a living SQLite store. PostgreSQL brings its own tool (`pg_dump`); blobs are files to copy."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from lehr.errors import StoreUnusable
from lehr.store.db import Database

__all__ = ["backup", "copy_sqlite"]


def backup(db: Database, target: Path) -> None:
    """Copies the store as it is at one moment into a file. Raises StoreUnusable on PostgreSQL."""
    if db.path is None:
        raise StoreUnusable("the rows are in PostgreSQL: back them up with pg_dump, and the blobs beside them")
    copy_sqlite(db.path, target)


def copy_sqlite(source: Path, target: Path) -> None:
    """Copies a live SQLite file; the copy is complete and on the disk before it bears its name."""
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    with closing(sqlite3.connect(source, timeout=30)) as old, closing(sqlite3.connect(partial)) as new:
        old.backup(new)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
