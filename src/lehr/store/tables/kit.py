"""What tables are made of: the metadata they belong to, and the columns that most of them have."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

NUMBER = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts by itself only in INTEGER PRIMARY KEY
SHA = String(64)


def key() -> Column[int]:
    """A row's number."""
    return Column("key", NUMBER, primary_key=True, autoincrement=True)


def parent(name: str, target: str, *, index: bool = False) -> Column[int]:
    """What a row belongs to, and goes with."""
    return Column(name, NUMBER, ForeignKey(target, ondelete="CASCADE"), nullable=False, index=index)


def message() -> Column[bytes]:
    """The noun itself, serialised."""
    return Column("message", LargeBinary, nullable=False)


def table(name: str, *parts: Column | UniqueConstraint | Index) -> Table:
    """A table whose keys are never used twice."""
    return Table(name, METADATA, *parts, sqlite_autoincrement=True)
