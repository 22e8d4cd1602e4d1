"""What searches look up instead of reading messages, and the searches and annotation filters that people keep.

Rows of the first four tables follow from messages and are written by `store/facts.py` alone.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Table,
    Text,
    UniqueConstraint,
)

from lehr.store.tables.kit import METADATA, NUMBER, key, message, parent, table


def _part(name: str, target: str) -> Column[int]:
    """A part of a primary key that names a row elsewhere, and goes with it."""
    owner = ForeignKey(target, ondelete="CASCADE")
    return Column(name, NUMBER, owner, primary_key=True, autoincrement=False, index=True)


annotation_concepts = Table(
    "annotation_concepts",
    METADATA,
    Column("app_key", NUMBER, primary_key=True, autoincrement=False),
    Column("concept_id", Text, primary_key=True),
    Column("is_positive", Boolean, primary_key=True),
    _part("annotation_key", "input_annotations.key"),
    Column("input_key", NUMBER, nullable=False),
    sqlite_with_rowid=False,
)

annotation_terms = Table(
    "annotation_terms",
    METADATA,
    Column("term", BigInteger, primary_key=True, autoincrement=False),
    _part("annotation_key", "input_annotations.key"),
    Column("input_key", NUMBER, nullable=False),
    sqlite_with_rowid=False,
)

input_terms = Table(
    "input_terms",
    METADATA,
    Column("term", BigInteger, primary_key=True, autoincrement=False),
    _part("input_key", "inputs.key"),
    sqlite_with_rowid=False,
)

geo_points = table(
    "geo_points",
    key(),
    Column("app_key", NUMBER, nullable=False),
    parent("input_key", "inputs.key", index=True),
    Column("annotation_key", NUMBER, ForeignKey("input_annotations.key", ondelete="CASCADE"), index=True),
    # NULL where the input itself has the place
    Column("latitude", Double, nullable=False),
    Column("longitude", Double, nullable=False),
    # the same place on a sphere of radius 1
    Column("x", Double, nullable=False),
    Column("y", Double, nullable=False),
    Column("z", Double, nullable=False),
    Index(None, "app_key", "latitude"),
)

searches = table(
    "searches",
    key(),
    parent("app_key", "apps.key"),
    Column("id", Text, nullable=False),
    Column("kind", Text, nullable=False),  # what it finds: inputs or annotations
    message(),
    UniqueConstraint("app_key", "id"),
)

annotation_filters = table(
    "annotation_filters",
    key(),
    parent("app_key", "apps.key"),
    Column("id", Text, nullable=False),
    message(),
    UniqueConstraint("app_key", "id"),
)
