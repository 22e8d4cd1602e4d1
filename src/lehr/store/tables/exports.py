"""The table of trained versions that were written out for use elsewhere."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, LargeBinary, Table

from lehr.store.tables.kit import METADATA, NUMBER, SHA

model_exports = Table(
    "model_exports",
    METADATA,
    Column(
        "version_key",
        NUMBER,
        ForeignKey("model_versions.key", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("sha", SHA, nullable=False, index=True),  # '' until it is exported
    Column("message", LargeBinary, nullable=False),
)
