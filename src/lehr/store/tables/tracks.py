"""Tracks: things that annotations follow through a video."""

from __future__ import annotations

from sqlalchemy import Column, Text, UniqueConstraint

from lehr.store.tables.kit import key, message, parent, table

annotation_tracks = table(
    "annotation_tracks",
    key(),
    parent("app_key", "apps.key"),
    parent("input_key", "inputs.key", index=True),
    Column("id", Text, nullable=False),
    message(),
    UniqueConstraint("app_key", "id"),
)
