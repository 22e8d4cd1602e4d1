"""Moves a store's schema from revision to revision with Alembic, in one transaction under one lock."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from lehr.errors import StoreUnusable
from lehr.store.backup import copy_sqlite
from lehr.store.db import Database

__all__ = ["SCRIPTS", "upgrade"]

SCRIPTS = Path(__file__).parent / "migrations"
_LOCK = 0x6C656872  # "lehr": the advisory lock that PostgreSQL servers starting together queue on


def upgrade(db: Database) -> None:
    """Applies the missing revisions; keeps a copy of an SQLite file that already holds data of an older schema."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    newest = ScriptDirectory.from_config(config).get_current_head()
    with db.write() as tx:
        if not db.is_sqlite:
            tx.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        present = MigrationContext.configure(tx).get_current_revision()
        if present == newest:
            return
        _check_known(present, config)
        if present is not None and db.path is not None:
            copy_sqlite(db.path, db.path.with_name(f"{db.path.name}.before-{newest}"))
        _apply(tx, config)


def _check_known(revision: str | None, config: Config) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise StoreUnusable(
            f"the store has schema {revision!r}, which this Lehr does not know (it knows up to {max(known)!r}): "
            "it was written by a newer Lehr; start that one, or restore the backup made before its upgrade"
        )


def _apply(tx: Connection, config: Config) -> None:
    config.attributes["connection"] = tx
    command.upgrade(config, "head")
