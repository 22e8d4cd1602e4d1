"""What evaluations measured, where lists of them are filtered by it."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Table, Text

from lehr.store.tables.kit import METADATA, NUMBER

evaluation_concepts = Table(
    "evaluation_concepts",
    METADATA,
    Column(
        "evaluation_key",
        NUMBER,
        ForeignKey("evaluations.key", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("concept_id", Text, primary_key=True),
    sqlite_with_rowid=False,
)
