"""The tables of the vector index: generations, the vectors of each, and what still waits to be embedded."""

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
    Text,
    UniqueConstraint,
)

from lehr.store.tables.kit import NUMBER, key, parent, table

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
