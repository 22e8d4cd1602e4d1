"""Sizes of blobs: a frozen copy of their table, which later edits of `lehr.store.tables` leave alone."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, MetaData, String, Table

revision = "0003"
down_revision = "0002"

METADATA = MetaData(naming_convention={"pk": "pk_%(table_name)s"})

blob_sizes = Table(
    "blob_sizes",
    METADATA,
    Column("blob", String(64), primary_key=True),
    Column("size", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)


def upgrade() -> None:
    """Creates the table; blobs from before are measured by and by."""
    METADATA.create_all(op.get_bind())
