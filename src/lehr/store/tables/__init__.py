"""Every table. A row of a noun is its serialised message plus the columns that queries need.

`key` is a row's number in order of insertion, never used twice; ids are the clients' names for things and unique within
their parent. Rows point at their parent's key, so that deleting a parent takes everything below it along.
"""

from __future__ import annotations

from lehr.store.tables.curves import training_points
from lehr.store.tables.embeddings import backlog, embeddings, generations
from lehr.store.tables.exports import model_exports
from lehr.store.tables.health import health_reports, picture_signatures
from lehr.store.tables.kit import METADATA, NUMBER, SHA
from lehr.store.tables.measured import evaluation_concepts
from lehr.store.tables.people import collaborators, concept_languages, concept_relations, knowledge_graphs
from lehr.store.tables.resources import (
    PENDING_INPUT,
    add_jobs,
    apps,
    bundles,
    checkpoints,
    concepts,
    dataset_inputs,
    dataset_versions,
    datasets,
    evaluations,
    frozen_annotations,
    frozen_inputs,
    heartbeats,
    input_annotations,
    inputs,
    jobs,
    keys,
    log_lines,
    model_versions,
    models,
    secrets,
    training_sets,
    users,
    workflow_versions,
    workflows,
)
from lehr.store.tables.searches import (
    annotation_concepts,
    annotation_filters,
    annotation_terms,
    geo_points,
    input_terms,
    searches,
)
from lehr.store.tables.sessions import web_sessions
from lehr.store.tables.sizes import blob_sizes
from lehr.store.tables.tracks import annotation_tracks
from lehr.store.tables.transfers import (
    bulk_operations,
    dataset_exports,
    dataset_metrics,
    extraction_jobs,
    upload_parts,
    uploads,
)

__all__ = [
    "METADATA",
    "NUMBER",
    "PENDING_INPUT",
    "REVISION",
    "SHA",
    "add_jobs",
    "annotation_concepts",
    "annotation_filters",
    "annotation_terms",
    "annotation_tracks",
    "apps",
    "backlog",
    "blob_sizes",
    "bulk_operations",
    "bundles",
    "checkpoints",
    "collaborators",
    "concept_languages",
    "concept_relations",
    "concepts",
    "dataset_exports",
    "dataset_inputs",
    "dataset_metrics",
    "dataset_versions",
    "datasets",
    "embeddings",
    "evaluation_concepts",
    "evaluations",
    "extraction_jobs",
    "frozen_annotations",
    "frozen_inputs",
    "generations",
    "geo_points",
    "health_reports",
    "heartbeats",
    "input_annotations",
    "input_terms",
    "inputs",
    "jobs",
    "keys",
    "knowledge_graphs",
    "log_lines",
    "model_exports",
    "model_versions",
    "models",
    "picture_signatures",
    "searches",
    "secrets",
    "training_points",
    "training_sets",
    "upload_parts",
    "uploads",
    "users",
    "web_sessions",
    "workflow_versions",
    "workflows",
]

REVISION = "0004"
"""The newest of the migrations: what these tables are."""
