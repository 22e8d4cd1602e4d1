"""How much an app keeps, beside a naive count: every column that names a blob, in two apps that share some."""

from __future__ import annotations

import random
from collections import defaultdict
from itertools import count
from typing import Any

import pytest
from sqlalchemy import Boolean, Column, Connection, LargeBinary, String, Table, insert

from lehr.protocol.ids import AppRef
from lehr.store import blob_sizes, tables
from lehr.store.db import Database
from lehr.store.sweep import NAMED_BY

SIZES = {f"{number:064x}": 3**number for number in range(1, 24)}
"""No two sets of blobs have the same sum."""
NUMBERS = count(1)


def put(tx: Connection, table: Table, **given: Any) -> int:
    """A row with these values and any others."""
    values = {column.name: _any(column) for column in table.columns if not column.nullable and column.name != "key"}
    return int(tx.execute(insert(table).values({**values, **given})).inserted_primary_key[0])


def _any(column: Column[Any]) -> Any:
    if isinstance(column.type, LargeBinary):
        return b""
    if isinstance(column.type, Boolean):
        return False
    return f"any-{next(NUMBERS)}" if isinstance(column.type, String) else next(NUMBERS)


class Filled:
    """Apps with rows of every kind that names a blob; `named` is the oracle."""

    def __init__(self, tx: Connection) -> None:
        self.tx, self.random, self.named = tx, random.Random(7), defaultdict(set)
        put(tx, tables.users, id="ana")

    def app(self, name: str) -> AppRef:
        tx, app_key = self.tx, put(self.tx, tables.apps, user_id="ana", id=name)
        dataset_key = put(tx, tables.datasets, app_key=app_key)
        frozen_key = put(tx, tables.dataset_versions, dataset_key=dataset_key)
        model_key = put(tx, tables.models, app_key=app_key)
        upload_key = put(tx, tables.uploads, app_key=app_key)
        for _ in range(3):
            version_key = put(tx, tables.model_versions, model_key=model_key)
            own = {"version_key": version_key}
            self.names(name, tables.inputs, app_key=app_key)
            self.names(name, tables.frozen_inputs, dataset_version_key=frozen_key)
            self.names(name, tables.evaluations, app_key=app_key, **own)
            self.names(name, tables.upload_parts, upload_key=upload_key)
            self.names(name, tables.extraction_jobs, app_key=app_key, upload_key=None)
            self.names(name, tables.dataset_exports, version_key=frozen_key)
            for table in (tables.checkpoints, tables.bundles, tables.training_sets, tables.model_exports):
                self.names(name, table, **own)
        return AppRef("ana", name)

    def names(self, app: str, table: Table, **keys: Any) -> None:
        """A row whose blobs are any, or none."""
        given = {column.name: self.random.choice(["", *SIZES]) for column in NAMED_BY if column.table is table}
        put(self.tx, table, **keys, **given)
        for part, columns in blob_sizes.PARTS.items():
            self.named[app, part] |= {given[column.name] for column in columns if column.table is table} - {""}


@pytest.fixture
def tx(db: Database):
    with db.write() as tx:
        yield tx


def test_every_column_that_names_a_blob_is_counted_somewhere() -> None:
    assert sorted(map(str, NAMED_BY)) == sorted(str(each) for part in blob_sizes.PARTS.values() for each in part)


def test_a_blob_counts_once_for_a_part_however_often_it_is_named(tx: Connection) -> None:
    filled = Filled(tx)
    apps = [filled.app("flowers"), filled.app("cars")]
    blob_sizes.note(tx, SIZES)
    blob_sizes.note(tx, SIZES)  # again: they are there
    for ref in apps:
        for part in blob_sizes.PARTS:
            named = filled.named[ref.app_id, part]
            assert blob_sizes.sum_of(tx, ref, part) == (sum(SIZES[sha] for sha in named), len(named), 0)
    originals = defaultdict(set)
    for row in tx.execute(tables.inputs.select()):
        originals[row.app_key].add(row.content_sha)
    frozen = tx.execute(tables.frozen_inputs.select().where(tables.frozen_inputs.c.dataset_version_key == 1))
    both = (originals[1] | {row.content_sha for row in frozen}) & (originals[2] - {""})
    assert blob_sizes.shared_bytes(tx, apps[0]) == sum(SIZES[sha] for sha in both) > 0


def test_what_nobody_measured_is_known(tx: Connection) -> None:
    filled = Filled(tx)
    ref = filled.app("flowers")
    named = set().union(*(filled.named["flowers", part] for part in blob_sizes.PARTS))
    assert set(blob_sizes.unmeasured_of(tx, ref, limit=100)) == named == set(blob_sizes.unmeasured(tx, limit=100))
    measured = sorted(named)[::2]
    blob_sizes.note(tx, {sha: SIZES[sha] for sha in measured})
    assert set(blob_sizes.unmeasured_of(tx, ref, limit=100)) == named - set(measured)
    media = filled.named["flowers", "media"]
    assert blob_sizes.sum_of(tx, ref, "media").num_unmeasured == len(media - set(measured))
    assert len(blob_sizes.unmeasured(tx, limit=2)) == 2
