"""Tables of who may enter an app beside its owner, and of what concepts mean: relations, languages, graphs."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Text, UniqueConstraint

from lehr.store.tables.kit import key, message, parent, table

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
