"""The tables of the first schema: people, apps, inputs, annotations, data sets, models, jobs."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from lehr.store.tables.kit import METADATA, NUMBER, SHA, key, message, parent, table

PENDING_INPUT = text("status_code IN (30001, 30003)")
"""Inputs that still wait for their processing; the words must equal those of the partial index for SQLite to use it."""

users = table("users", key(), Column("id", Text, nullable=False, unique=True), message())

apps = table(
    "apps",
    key(),
    Column("user_id", Text, ForeignKey("users.id", ondelete="CASCADE", onupdate="CASCADE"), nullable=False),
    Column("id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("input_deletions", BigInteger, nullable=False, server_default="0"),  # how often some were: no number of them
    message(),
    UniqueConstraint("user_id", "id"),
)

keys = table(
    "keys",
    key(),
    Column("user_id", Text, ForeignKey("users.id", ondelete="CASCADE", onupdate="CASCADE"), nullable=False),
    Column("app_key", NUMBER, ForeignKey("apps.key", ondelete="CASCADE"), index=True),
    Column("id", Text, nullable=False),
    Column("secret_sha", SHA, nullable=False, unique=True),
    Column("expires_at", BigInteger),  # ms since 1970
    message(),
    UniqueConstraint("user_id", "id"),
)

concepts = table(
    "concepts",
    key(),
    parent("app_key", "apps.key"),
    Column("id", Text, nullable=False),
    Column("name", Text, nullable=False),
    message(),
    UniqueConstraint("app_key", "id"),
    Index(None, "app_key", "name"),
)

inputs = table(
    "inputs",
    key(),
    parent("app_key", "apps.key"),
    Column("id", Text, nullable=False),
    Column("status_code", Integer, nullable=False),
    Column("url_sha", SHA),  # a URL may be longer than an index entry
    Column("content_sha", SHA, nullable=False, index=True),  # '' until the bytes are here
    Column("thumbnail_sha", SHA, nullable=False, index=True),
    Column("add_job_id", Text),
    # what searches filter by
    Column("kind", SmallInteger, nullable=False),  # see store/facts.py
    Column("created_at", BigInteger, nullable=False),  # µs since 1970
    Column("modified_at", BigInteger, nullable=False),  # µs since 1970
    message(),
    UniqueConstraint("app_key", "id"),
    Index(None, "app_key", "key", "status_code", "kind", "created_at", "modified_at"),
)
# PostgreSQL has the same conditions, by the migration: named here, they would load its dialects at every start
Index("ix_inputs_pending", inputs.c.key, sqlite_where=PENDING_INPUT)
Index(None, inputs.c.app_key, inputs.c.url_sha, sqlite_where=inputs.c.url_sha.is_not(None))
Index(None, inputs.c.app_key, inputs.c.add_job_id, sqlite_where=inputs.c.add_job_id.is_not(None))

add_jobs = table(
    "add_jobs",
    key(),
    parent("app_key", "apps.key"),
    Column("id", Text, nullable=False),
    Column("num_refused", Integer, nullable=False),
    message(),
    UniqueConstraint("app_key", "id"),
)

input_annotations = table(
    "input_annotations",
    key(),
    parent("app_key", "apps.key"),
    parent("input_key", "inputs.key"),
    Column("id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("model_version_id", Text, nullable=False),
    Column("workflow_version_id", Text, nullable=False),
    Column("task_id", Text, nullable=False),
    Column("status_code", Integer, nullable=False),
    # what searches filter by
    Column("traits", Integer, nullable=False),  # bits: see store/facts.py
    Column("created_at", BigInteger, nullable=False),  # µs since 1970
    Column("modified_at", BigInteger, nullable=False),  # µs since 1970
    message(),
    UniqueConstraint("input_key", "id"),
    Index(None, "app_key", "key"),
    Index(None, "app_key", "id"),
)

datasets = table(
    "datasets",
    key(),
    parent("app_key", "apps.key"),
    Column("id", Text, nullable=False),
    message(),
    UniqueConstraint("app_key", "id"),
)

dataset_inputs = table(
    "dataset_inputs",
    key(),
    parent("dataset_key", "datasets.key"),
    parent("input_key", "inputs.key", index=True),
    Column("created_at", BigInteger, nullable=False),  # µs since 1970
    UniqueConstraint("dataset_key", "input_key"),
    Index(None, "dataset_key", "key"),
)

dataset_versions = table(
    "dataset_versions",
    key(),
    parent("dataset_key", "datasets.key"),
    Column("id", Text, nullable=False),
    message(),
    UniqueConstraint("dataset_key", "id"),
)

frozen_inputs = table(
    "frozen_inputs",
    key(),
    parent("dataset_version_key", "dataset_versions.key"),
    Column("input_key", NUMBER, nullable=False),  # no foreign key: the input may go, its frozen copy stays
    Column("id", Text, nullable=False),
    Column("status_code", Integer, nullable=False),
    Column("content_sha", SHA, nullable=False, index=True),
    message(),
    UniqueConstraint("dataset_version_key", "input_key"),
)

frozen_annotations = table(
    "frozen_annotations",
    key(),
    parent("dataset_version_key", "dataset_versions.key"),
    Column("input_key", NUMBER, nullable=False),
    message(),
    Index(None, "dataset_version_key", "input_key"),
)

models = table(
    "models",
    key(),
    parent("app_key", "apps.key"),
    Column("id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("model_type_id", Text, nullable=False),
    Column("modified_at", BigInteger, nullable=False),  # µs since 1970
    message(),
    UniqueConstraint("app_key", "id"),
    Index(None, "app_key", "modified_at"),
)

model_versions = table(
    "model_versions",
    key(),
    parent("model_key", "models.key"),
    Column("id", Text, nullable=False),
    Column("status_code", Integer, nullable=False),
    message(),
    UniqueConstraint("model_key", "id"),
    Index(None, "model_key", "key", "status_code"),
)

log_lines = table(
    "log_lines",
    key(),
    parent("version_key", "model_versions.key"),
    Column("at", BigInteger, nullable=False),  # µs since 1970
    Column("text", Text, nullable=False),
    Index(None, "version_key", "key"),
)

checkpoints = table(
    "checkpoints",
    key(),
    parent("version_key", "model_versions.key", index=True),
    Column("token", BigInteger, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("sha", SHA, nullable=False, index=True),
)

bundles = Table(
    "bundles",
    METADATA,
    Column(
        "version_key",
        NUMBER,
        ForeignKey("model_versions.key", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("sha", SHA, nullable=False, index=True),
    Column("size", BigInteger, nullable=False),  # bytes
)

training_sets = Table(
    "training_sets",
    METADATA,
    Column(
        "version_key",
        NUMBER,
        ForeignKey("model_versions.key", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("sha", SHA, nullable=False, index=True),
)

evaluations = table(
    "evaluations",
    key(),
    parent("app_key", "apps.key"),
    parent("version_key", "model_versions.key"),
    Column("id", Text, nullable=False),
    Column("status_code", Integer, nullable=False),
    Column("model_id", Text, nullable=False),
    Column("eval_dataset_id", Text, nullable=False),
    Column("train_dataset_id", Text, nullable=False),
    # figures that lists are sorted by; 0 until there are any
    Column("roc_auc", Double, nullable=False),
    Column("f1", Double, nullable=False),
    Column("precision", Double, nullable=False),
    Column("recall", Double, nullable=False),
    Column("mean_avg_precision", Double, nullable=False),
    Column("details_sha", SHA, nullable=False, index=True),  # '' until it is evaluated
    message(),
    UniqueConstraint("app_key", "id"),
    Index(None, "version_key", "key"),
)

workflows = table(
    "workflows",
    key(),
    parent("app_key", "apps.key"),
    Column("id", Text, nullable=False),
    message(),
    UniqueConstraint("app_key", "id"),
)

workflow_versions = table(
    "workflow_versions",
    key(),
    parent("workflow_key", "workflows.key"),
    Column("id", Text, nullable=False),
    message(),
    UniqueConstraint("workflow_key", "id"),
)

jobs = table(
    "jobs",
    key(),
    Column("id", String(32), nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("payload", Text, nullable=False),  # JSON
    Column("state", SmallInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("worker", Text, nullable=False),
    Column("error", Text, nullable=False),
    # milliseconds of the database's clock
    Column("not_before", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Index(None, "state", "key"),
    Index(None, "subject"),
)

secrets = Table(
    "secrets",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

heartbeats = Table(
    "heartbeats",
    METADATA,
    Column("job_key", NUMBER, ForeignKey("jobs.key", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("token", BigInteger, nullable=False),
    Column("lease_ms", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),  # ms of the database's clock
)
