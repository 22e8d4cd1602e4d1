"""Health reports of data sets, and the signatures of pictures that near-duplicates are found by."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select

from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.store import datasets
from lehr.store.clock import now_ms
from lehr.store.rows import insert_new
from lehr.store.tables import dataset_inputs, health_reports, inputs, picture_signatures

__all__ = ["StoredReport", "put", "put_signatures", "report", "signatures", "unready"]

_READY = (
    status_code_pb2.INPUT_DOWNLOAD_SUCCESS,
    status_code_pb2.INPUT_DOWNLOAD_PENDING,
    status_code_pb2.INPUT_DOWNLOAD_IN_PROGRESS,
)


class StoredReport(NamedTuple):
    """What was found, in JSON, and when: milliseconds since 1970."""

    made_at: int
    report: str


def put(tx: Connection, ref: AppRef, dataset_id: str, report_json: str) -> None:
    """Replaces the data set's report. Raises NotFound."""
    key = datasets.key_of(tx, ref, dataset_id)
    tx.execute(delete(health_reports).where(health_reports.c.dataset_key == key))
    tx.execute(insert(health_reports).values(dataset_key=key, made_at=now_ms(), report=report_json))


def report(tx: Connection, ref: AppRef, dataset_id: str) -> StoredReport | None:
    """The last one made. Raises NotFound without the data set."""
    key = datasets.key_of(tx, ref, dataset_id)
    query = select(health_reports.c.made_at, health_reports.c.report).where(health_reports.c.dataset_key == key)
    row = tx.execute(query.order_by(health_reports.c.key.desc()).limit(1)).first()
    return None if row is None else StoredReport(int(row.made_at), row.report)


def unready(tx: Connection, ref: AppRef, dataset_id: str, *, limit: int) -> list[resources_pb2.Input]:
    """Inputs of the data set that could not be read."""
    key = datasets.key_of(tx, ref, dataset_id)
    joined = inputs.join(dataset_inputs, dataset_inputs.c.input_key == inputs.c.key)
    bad = (dataset_inputs.c.dataset_key == key, inputs.c.status_code.not_in(_READY))
    query = select(inputs.c.message).select_from(joined).where(*bad).order_by(inputs.c.key).limit(limit)
    return [resources_pb2.Input.FromString(message) for message in tx.execute(query).scalars()]


def signatures(tx: Connection, pictures: Collection[str]) -> dict[str, bytes]:
    """Those that are known, of pictures named by their hash."""
    columns = picture_signatures.c
    query = select(columns.picture, columns.signature).where(columns.picture.in_(list(pictures)))
    return {row.picture: bytes(row.signature) for row in tx.execute(query)}


def put_signatures(tx: Connection, made: Mapping[str, bytes]) -> None:
    """Keeps them; one that is there stays."""
    if made:
        rows = [{"picture": picture, "signature": signature} for picture, signature in made.items()]
        tx.execute(insert_new(tx, picture_signatures).values(rows))
