"""The inputs that a model is about: those of its training's data that carry its concepts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from lehr.protocol import resources_pb2, status_code_pb2
from lehr.store.items import Source
from lehr.store.rows import Noun, app_key
from lehr.store.tables import annotation_concepts, dataset_inputs, dataset_versions, datasets, frozen_inputs
from lehr.store.tables import inputs as table

__all__ = ["examples", "page"]

_INPUTS = Noun(table=table, message=resources_pb2.Input, columns=lambda one: {"id": one.id}, what="input")


def page(
    tx: Connection, source: Source, concept_ids: Sequence[str], *, page: int, per_page: int
) -> list[resources_pb2.Input]:
    """Processed inputs of the source that say of any of these concepts that it is there, or not; oldest first.

    Without concepts all of the source. An input that was deleted is not among them, even of a frozen version.
    """
    where = [*_of(source), *([_labelled(source, concept_ids)] if concept_ids else [])]
    return _INPUTS.page(tx, *where, page=page, per_page=per_page)


def examples(tx: Connection, source: Source, concept_ids: Sequence[str]) -> dict[str, resources_pb2.Input]:
    """Concept id → the oldest input of the source on which it is there, of those concepts that have one."""
    facts = annotation_concepts.c
    mine = (facts.app_key == app_key(source.app), facts.concept_id.in_(list(concept_ids)), facts.is_positive)
    inside = facts.input_key.in_(select(table.c.key).where(*_of(source)))
    first = select(facts.concept_id, func.min(facts.input_key).label("input_key")).where(*mine, inside)
    chosen = first.group_by(facts.concept_id).subquery()
    query = select(chosen.c.concept_id, table.c.message).join(chosen, chosen.c.input_key == table.c.key)
    return {row.concept_id: _INPUTS.parse(row.message) for row in tx.execute(query)}


def _of(source: Source) -> tuple[ColumnElement[bool], ...]:
    in_app = table.c.app_key == app_key(source.app)
    processed = table.c.status_code == status_code_pb2.INPUT_DOWNLOAD_SUCCESS
    if not source.dataset_id:
        return in_app, processed
    return in_app, processed, table.c.key.in_(_members(source))


def _members(source: Source) -> Any:
    """Input keys of a data set, or of a frozen version of it; none where that is gone."""
    is_dataset = (datasets.c.app_key == app_key(source.app), datasets.c.id == source.dataset_id)
    dataset = select(datasets.c.key).where(*is_dataset).scalar_subquery()
    if not source.dataset_version_id:
        return select(dataset_inputs.c.input_key).where(dataset_inputs.c.dataset_key == dataset)
    versions = dataset_versions.c
    named = (versions.dataset_key == dataset, versions.id == source.dataset_version_id)
    version = select(versions.key).where(*named).scalar_subquery()
    return select(frozen_inputs.c.input_key).where(frozen_inputs.c.dataset_version_key == version)


def _labelled(source: Source, concept_ids: Sequence[str]) -> ColumnElement[bool]:
    facts = annotation_concepts.c
    mine = (facts.app_key == app_key(source.app), facts.concept_id.in_(list(concept_ids)))
    return table.c.key.in_(select(facts.input_key).where(*mine))
