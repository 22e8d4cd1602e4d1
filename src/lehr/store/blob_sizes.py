"""How many bytes belong to an app: sizes of blobs, noted as they come, and summed over the rows that name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    ScalarSelect,
    Select,
    exists,
    func,
    select,
    union,
)

from lehr.protocol.ids import AppRef
from lehr.store.rows import app_key, insert_new
from lehr.store.sweep import NAMED_BY
from lehr.store.tables import (
    blob_sizes,
    bundles,
    checkpoints,
    dataset_exports,
    dataset_versions,
    datasets,
    evaluations,
    extraction_jobs,
    frozen_inputs,
    inputs,
    model_exports,
    model_versions,
    models,
    training_sets,
    upload_parts,
    uploads,
)

__all__ = ["PARTS", "Sum", "named_by", "note", "shared_bytes", "sum_of", "unmeasured", "unmeasured_of"]

PARTS: Mapping[str, tuple[ColumnElement[str], ...]] = {
    "media": (inputs.c.content_sha, inputs.c.thumbnail_sha, frozen_inputs.c.content_sha),
    "models": (bundles.c.sha, model_exports.c.sha),
    "checkpoints": (checkpoints.c.sha,),
    "evaluations": (evaluations.c.details_sha, training_sets.c.sha),
    "transfers": (dataset_exports.c.sha, extraction_jobs.c.archive_sha, upload_parts.c.sha),
}
"""What an app's bytes are of, and the columns that name them: all of `sweep.NAMED_BY`."""


class Sum(NamedTuple):
    """Blobs counted once each, however often they are named; bytes of those whose size is known."""

    num_bytes: int
    num_blobs: int
    num_unmeasured: int


def note(tx: Connection, sizes: Mapping[str, int]) -> None:
    """Keeps sizes, by blob; they never change."""
    if sizes:
        tx.execute(insert_new(tx, blob_sizes), [{"blob": blob, "size": size} for blob, size in sizes.items()])


def sum_of(tx: Connection, ref: AppRef, part: str) -> Sum:
    """Of a part of the app."""
    named, size = named_by(ref, part).subquery(), blob_sizes.c.size
    joined = named.outerjoin(blob_sizes, blob_sizes.c.blob == named.c.blob)
    row = tx.execute(select(func.sum(size), func.count(), func.count(size)).select_from(joined)).one()
    return Sum(int(row[0] or 0), int(row[1]), int(row[1]) - int(row[2]))


def shared_bytes(tx: Connection, ref: AppRef) -> int:
    """Of the app's media: originals that are another app's inputs too, and would stay if this app went."""
    key, others = app_key(ref), inputs.alias()
    if tx.execute(select(others.c.key).where(others.c.app_key != key).limit(1)).first() is None:
        return 0
    named = union(*(_of_app(column, key) for column in (inputs.c.content_sha, frozen_inputs.c.content_sha))).subquery()
    is_elsewhere = exists().where(others.c.content_sha == named.c.blob, others.c.app_key != key)
    joined = named.join(blob_sizes, blob_sizes.c.blob == named.c.blob)
    return int(tx.execute(select(func.sum(blob_sizes.c.size)).select_from(joined).where(is_elsewhere)).scalar() or 0)


def unmeasured_of(tx: Connection, ref: AppRef, *, limit: int) -> list[str]:
    """Blobs of the app whose size nobody noted."""
    named = union(*(select(named_by(ref, part).subquery().c.blob) for part in PARTS)).subquery()
    unknown = ~exists().where(blob_sizes.c.blob == named.c.blob)
    return list(tx.execute(select(named.c.blob).where(unknown).limit(limit)).scalars())


def unmeasured(tx: Connection, *, limit: int) -> list[str]:
    """Blobs of anybody whose size nobody noted."""
    found: dict[str, None] = {}
    for column in NAMED_BY:
        unknown = ~exists().where(blob_sizes.c.blob == column)
        query = select(column).where(column != "", unknown).distinct().limit(limit - len(found))
        found |= dict.fromkeys(tx.execute(query).scalars())
        if len(found) >= limit:
            break
    return list(found)


def named_by(ref: AppRef, part: str) -> CompoundSelect[str]:
    """The blobs that a part of the app names, each once, as `blob`."""
    return union(*(_of_app(column, app_key(ref)) for column in PARTS[part]))


def _of_app(column: ColumnElement[str], key: ScalarSelect[int]) -> Select[str]:
    """What a column names in the rows that lie under the app."""
    table = column.table
    versions = model_versions.join(models, models.c.key == model_versions.c.model_key)
    frozen = dataset_versions.join(datasets, datasets.c.key == dataset_versions.c.dataset_key)
    query = select(column.label("blob")).where(column != "")
    if "app_key" in table.c:
        return query.where(table.c.app_key == key)
    if table is upload_parts:
        joined = table.join(uploads, uploads.c.key == table.c.upload_key)
        return query.select_from(joined).where(uploads.c.app_key == key)
    if "dataset_version_key" in table.c or table is dataset_exports:
        own = table.c.version_key if table is dataset_exports else table.c.dataset_version_key
        return query.select_from(table.join(frozen, dataset_versions.c.key == own)).where(datasets.c.app_key == key)
    joined = table.join(versions, model_versions.c.key == table.c.version_key)
    return query.select_from(joined).where(models.c.app_key == key)
