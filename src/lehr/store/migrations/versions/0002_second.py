"""Searches, indexes, uploads, exports, tracks, sharing, curves and pages: a frozen copy of their tables.

Later edits of `lehr.store.tables` leave it alone.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    inspect,
)

from lehr.errors import StoreUnusable

revision = "0002"
down_revision = "0001"

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

NUMBER = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts by itself only in INTEGER PRIMARY KEY
SHA = String(64)


def key() -> Column[int]:
    """A row's number."""
    return Column("key", NUMBER, primary_key=True, autoincrement=True)


def parent(name: str, target: str, *, index: bool = False) -> Column[int]:
    """What a row belongs to, and goes with."""
    return Column(name, NUMBER, ForeignKey(target, ondelete="CASCADE"), nullable=False, index=index)


def message() -> Column[bytes]:
    """The noun itself, serialised."""
    return Column("message", LargeBinary, nullable=False)


def table(name: str, *parts: Column | UniqueConstraint | Index) -> Table:
    """A table whose keys are never used twice."""
    return Table(name, METADATA, *parts, sqlite_autoincrement=True)


# What the new tables point at: made by the first schema, named here alone.
table("apps", key())
table("concepts", key())
table("dataset_versions", key())
table("datasets", key())
table("evaluations", key())
table("input_annotations", key())
table("inputs", key())
table("keys", key())
table("model_versions", key())
table("users", Column("id", Text, primary_key=True))
OLD = frozenset(METADATA.tables)

web_sessions = table(
    "web_sessions",
    key(),
    parent("key_key", "keys.key", index=True),
    Column("token_sha", SHA, nullable=False, unique=True),
    Column("expires_at", BigInteger, nullable=False, index=True),  # ms since 1970
)

generations = table(
    "generations",
    key(),
    parent("app_key", "apps.key"),
    Column("uid", String(32), nullable=False, unique=True),  # names its files: keys repeat from store to store
    Column("number", Integer, nullable=False),
    Column("embedder", Text, nullable=False, index=True),  # user/app/model/version
    Column("workflow", LargeBinary, nullable=False),  # the app's default workflow that it was built for
    Column("dimensions", Integer, nullable=False),  # 0 until the first vector
    Column("state", SmallInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),  # of the newest vector
    Column("filled_to", NUMBER, nullable=False),  # inputs up to this key are in the backlog, or through it
    Column("is_filled", SmallInteger, nullable=False),
    Column("recall", Double),  # of the approximate index against the exact one, where there is one
    Column("report", Text, nullable=False),  # JSON: how the neighbours changed
    Column("created_at", BigInteger, nullable=False),  # ms of the database's clock
    Column("served_at", BigInteger),
    UniqueConstraint("app_key", "number"),
    Index(None, "app_key", "state"),
)

embeddings = table(
    "embeddings",
    key(),
    parent("generation_key", "generations.key"),
    Column("seq", BigInteger, nullable=False),
    parent("input_key", "inputs.key", index=True),
    Column("annotation_key", NUMBER, ForeignKey("input_annotations.key", ondelete="CASCADE"), index=True),
    Column("frame_ms", Integer),
    Column("vector", LargeBinary, nullable=False),  # float16, of length 1
    UniqueConstraint("generation_key", "seq"),
    Index(None, "generation_key", "input_key"),
)

backlog = table(
    "backlog",
    key(),
    parent("generation_key", "generations.key"),
    parent("input_key", "inputs.key", index=True),
    Column("annotation_key", NUMBER),  # no foreign key: an annotation that went is passed over
    Column("error", Text),  # why it could not be embedded; such rows wait for nothing any more
    Index(None, "generation_key", "key"),
)

annotation_tracks = table(
    "annotation_tracks",
    key(),
    parent("app_key", "apps.key"),
    parent("input_key", "inputs.key", index=True),
    Column("id", Text, nullable=False),
    message(),
    UniqueConstraint("app_key", "id"),
)

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

collaborators = table(
    "collaborators",
    key(),
    parent("app_key", "apps.key"),
    Column(
        "user_id",
        Text,
        ForeignKey("users.id", ondelete="CASCADE", onupdate="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("id", Text, nullable=False),
    message(),
    UniqueConstraint("app_key", "user_id"),
    UniqueConstraint("app_key", "id"),
)

knowledge_graphs = table(
    "knowledge_graphs",
    key(),
    parent("app_key", "apps.key"),
    Column("id", Text, nullable=False),
    message(),
    UniqueConstraint("app_key", "id"),
)

concept_relations = table(
    "concept_relations",
    key(),
    parent("app_key", "apps.key"),
    parent("subject_key", "concepts.key"),
    parent("object_key", "concepts.key", index=True),
    Column("id", Text, nullable=False),
    Column("predicate", Text, nullable=False),
    Column("knowledge_graph_id", Text, nullable=False),  # '' for the app's own
    message(),
    UniqueConstraint("app_key", "id"),
    UniqueConstraint("subject_key", "object_key", "predicate", "knowledge_graph_id"),
    Index(None, "app_key", "key"),
)

concept_languages = table(
    "concept_languages",
    key(),
    parent("concept_key", "concepts.key"),
    Column("id", Text, nullable=False),  # the language: en, de, zh-TW
    message(),
    UniqueConstraint("concept_key", "id"),
)

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

training_points = table(
    "training_points",
    key(),
    parent("version_key", "model_versions.key"),
    Column("step", NUMBER, nullable=False),
    Column("point", Text, nullable=False),  # JSON: learn/curves.py says what is in it
    Index(None, "version_key", "key"),
)

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


def upgrade() -> None:
    """Creates the new tables. Raises StoreUnusable for a store from before the first release."""
    bind = op.get_bind()
    if "kind" not in {column["name"] for column in inspect(bind).get_columns("inputs")}:
        raise StoreUnusable("this store was made before the first release and cannot be taken over: use a new --home.")
    METADATA.create_all(bind, tables=[one for one in METADATA.sorted_tables if one.name not in OLD])
