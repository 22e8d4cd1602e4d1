"""What trainings measured while they ran."""

from __future__ import annotations

from sqlalchemy import Column, Index, Text

from lehr.store.tables.kit import NUMBER, key, parent, table

training_points = table(
    "training_points",
    key(),
    parent("version_key", "model_versions.key"),
    Column("step", NUMBER, nullable=False),
    Column("point", Text, nullable=False),  # JSON: learn/curves.py says what is in it
    Index(None, "version_key", "key"),
)
