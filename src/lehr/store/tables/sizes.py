"""How large blobs are: noted as they come, so that no disk must be asked when they are summed."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table

from lehr.store.tables.kit import METADATA, SHA

blob_sizes = Table(
    "blob_sizes",
    METADATA,
    Column("blob", SHA, primary_key=True),  # says nothing about whether it is still there
    Column("size", BigInteger, nullable=False),  # bytes
    sqlite_with_rowid=False,
)
