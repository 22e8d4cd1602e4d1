"""The tables of data on its way in and out: uploads in parts, archives being unpacked, bulk operations, exports."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from lehr.store.tables.kit import METADATA, NUMBER, SHA, key, message, parent, table

uploads = table(
    "uploads",
    key(),
    parent("app_key", "apps.key"),
    Column("id", Text, nullable=False),
    Column("num_received", BigInteger, nullable=False),  # bytes
    Column("expires_at", BigInteger, nullable=False, index=True),  # µs since 1970
    message(),
    UniqueConstraint("app_key", "id"),
)

upload_parts = table(
    "upload_parts",
    key(),
    parent("upload_key", "uploads.key"),
    Column("range_start", BigInteger, nullable=False),
    Column("range_end", BigInteger, nullable=False),  # the byte behind the last
    Column("sha", SHA, nullable=False, index=True),
    UniqueConstraint("upload_key", "range_start"),
)

extraction_jobs = table(
    "extraction_jobs",
    key(),
    parent("app_key", "apps.key"),
    Column("id", Text, nullable=False),
    Column("add_job_id", Text, nullable=False),
    Column("upload_key", NUMBER, ForeignKey("uploads.key", ondelete="SET NULL"), index=True),
    Column("user_id", Text, nullable=False),  # who asked for it: the author of the labels
    Column("archive_sha", SHA, nullable=False, index=True),  # '' unless it was fetched from a URL
    Column("position", BigInteger, nullable=False),  # entries that are dealt with
    Column("num_bytes", BigInteger, nullable=False),  # unpacked so far
    Column("num_left_out", BigInteger, nullable=False),
    Column("left_out", Text, nullable=False),  # the first few entries that became no inputs, and why; JSON
    Column("status_code", Integer, nullable=False),
    message(),
    UniqueConstraint("app_key", "id"),
    Index(None, "app_key", "add_job_id"),
)

bulk_operations = table(
    "bulk_operations",
    key(),
    parent("app_key", "apps.key"),
    Column("id", Text, nullable=False),
    Column("position", BigInteger, nullable=False),  # key of the last input (or annotation) that is dealt with
    Column("last_key", BigInteger, nullable=False),  # key of the last one there was at the start; 0: not started
    Column("status_code", Integer, nullable=False),
    message(),
    UniqueConstraint("app_key", "id"),
)

dataset_exports = table(
    "dataset_exports",
    key(),
    parent("version_key", "dataset_versions.key"),
    Column("format", Integer, nullable=False),
    Column("with_embeddings", Boolean, nullable=False),
    Column("base_url", Text, nullable=False),  # what the addresses inside begin with
    Column("sha", SHA, nullable=False, index=True),  # '' until it is made
    Column("status_code", Integer, nullable=False),
    message(),
    UniqueConstraint("version_key", "format", "with_embeddings"),
)

dataset_metrics = Table(
    "dataset_metrics",
    METADATA,
    Column(
        "version_key",
        NUMBER,
        ForeignKey("dataset_versions.key", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("groups", LargeBinary, nullable=False),
)
