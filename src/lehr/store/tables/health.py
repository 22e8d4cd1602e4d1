"""Tables of what was found in data sets, and of what pictures look like."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, LargeBinary, Table, Text

from lehr.store.tables.kit import METADATA, SHA, key, parent, table

health_reports = table(
    "health_reports",
    key(),
    parent("dataset_key", "datasets.key", index=True),
    Column("made_at", BigInteger, nullable=False),  # ms since 1970
    Column("report", Text, nullable=False),  # JSON
)

picture_signatures = Table(
    "picture_signatures",
    METADATA,
    Column("picture", SHA, primary_key=True),  # the picture's hash; says nothing about whether its blob is still there
    Column("signature", LargeBinary, nullable=False),
)
