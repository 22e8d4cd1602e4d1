"""Versions of data sets: what was in one at a moment, frozen for trainings to name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, true

from lehr.errors import Duplicate, InvalidRequest, NotFound
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef, checked_id, new_id
from lehr.protocol.patch import MERGE, checked_action, patched
from lehr.protocol.statuses import status
from lehr.services.annotation_filters import asked_of, resolved
from lehr.services.batches import chunks
from lehr.services.datasets import found_dataset
from lehr.services.paging import Paging
from lehr.store import dataset_versions as version_rows
from lehr.store import finding, items
from lehr.store.dataset_versions import Narrowing
from lehr.store.db import Database

MAX_VERSIONS = 128
"""Versions in one request."""


@dataclass(frozen=True, kw_only=True)
class DatasetVersions:
    """Needs only the store."""

    db: Database

    def create(
        self, ref: AppRef, dataset_id: str, wanted: Sequence[resources_pb2.DatasetVersion]
    ) -> list[resources_pb2.DatasetVersion]:
        """Freezes the data set as it is now, once for each order; at once ready. Raises Duplicate or NotFound."""
        if not 1 <= len(wanted) <= MAX_VERSIONS:
            raise InvalidRequest(f"A request makes 1 to {MAX_VERSIONS} dataset versions; this one has {len(wanted)}.")
        made = [_new_version(ref, dataset_id, order) for order in wanted]
        with self.db.write() as tx:
            dataset = found_dataset(tx, ref, dataset_id)
            for order, version in zip(wanted, made, strict=True):
                if version_rows.get(tx, ref, dataset_id, version.id) is not None:
                    raise Duplicate(f"Version {version.id!r} of dataset {dataset_id!r} already exists.")
                narrowing = _narrowing(tx, ref, dataset, order.annotation_filter_config, version)
                version_rows.freeze(tx, ref, version, narrowing)
                _tell_what_is_left_out(tx, ref, version)
        return made

    def get(self, ref: AppRef, dataset_id: str, version_id: str) -> resources_pb2.DatasetVersion:
        """One version. Raises NotFound."""
        with self.db.read() as tx:
            found = version_rows.get(tx, ref, dataset_id, version_id)
        if found is None:
            raise NotFound(f"There is no version {version_id!r} of dataset {dataset_id!r}.")
        return found

    def list_of(self, ref: AppRef, dataset_id: str, paging: Paging) -> list[resources_pb2.DatasetVersion]:
        """A page of the data set's versions, newest first. Raises NotFound."""
        with self.db.read() as tx:
            found_dataset(tx, ref, dataset_id)
            return version_rows.page(tx, ref, dataset_id, page=paging.page, per_page=paging.per_page)

    def patch(
        self, ref: AppRef, dataset_id: str, changes: Sequence[resources_pb2.DatasetVersion], action: str
    ) -> list[resources_pb2.DatasetVersion]:
        """Changes description, metadata or visibility; what is frozen stays. Raises NotFound or InvalidRequest."""
        action = checked_action(action or MERGE)
        done = []
        with self.db.write() as tx:
            for change in changes:
                stored = version_rows.get(tx, ref, dataset_id, change.id)
                if stored is None:
                    raise NotFound(f"There is no version {change.id!r} of dataset {dataset_id!r}.")
                version = patched(stored, _words(change), action)
                version_rows.update(tx, ref, version)
                done.append(version)
        return done

    def delete(self, ref: AppRef, dataset_id: str, ids: Sequence[str]) -> int:
        """Deletes versions; those that do not exist are passed over. No ids: nothing is deleted. Raises NotFound."""
        with self.db.write() as tx:
            found_dataset(tx, ref, dataset_id)
            return sum(version_rows.delete(tx, ref, dataset_id, some) for some in chunks(ids))


def _new_version(ref: AppRef, dataset_id: str, order: resources_pb2.DatasetVersion) -> resources_pb2.DatasetVersion:
    if order.HasField("model_predict_config"):
        raise InvalidRequest(
            "A dataset version freezes what people annotated; model_predict_config is not offered. "
            "Predict first, and post what you keep of it as annotations."
        )
    version = _words(order)
    version.id = checked_id(order.id, "Dataset version") if order.id else new_id()
    version.app_id, version.user_id, version.dataset_id = ref.app_id, ref.user_id, dataset_id
    version.status.CopyFrom(status(status_code_pb2.DATASET_VERSION_READY))
    return version


def _narrowing(
    tx: Connection,
    ref: AppRef,
    dataset: resources_pb2.Dataset,
    config: resources_pb2.AnnotationFilterConfig,
    version: resources_pb2.DatasetVersion,
) -> Narrowing | None:
    """By the filter asked for, else by the data set's own; None takes all. The version tells which one it was."""
    named = config.annotation_filter if config.HasField("annotation_filter") else dataset.default_annotation_filter
    if not named.id and not named.HasField("search"):
        if not config.ignore_empty_inputs:
            return None
        noted: ColumnElement[bool] = true()
    else:
        chosen = resolved(tx, ref, named)
        noted = finding.is_annotation(tx, ref, asked_of(tx, ref, chosen))
        version.annotation_filter_config.annotation_filter.CopyFrom(chosen)
    version.annotation_filter_config.ignore_empty_inputs = config.ignore_empty_inputs
    return Narrowing(noted=noted, without_empty=config.ignore_empty_inputs)


def _tell_what_is_left_out(tx: Connection, ref: AppRef, version: resources_pb2.DatasetVersion) -> None:
    """Whoever freezes too early learns of it here, and not from a training without data."""
    source = items.Source(app=ref, dataset_id=version.dataset_id, dataset_version_id=version.id)
    num_frozen = version_rows.count_inputs(tx, ref, version.dataset_id, version.id)
    left_out = num_frozen - items.count(tx, source)
    if left_out:
        version.status.details = (
            f"{left_out} of {num_frozen} inputs were still being processed, or could not be, and are left out. Make "
            "another version once GetInputCount tells that none is to_process or processing."
        )
        version_rows.update(tx, ref, version)


def _words(order: resources_pb2.DatasetVersion) -> resources_pb2.DatasetVersion:
    """What a client may say of a version."""
    kept = resources_pb2.DatasetVersion(id=order.id, description=order.description)
    for name in ("metadata", "visibility"):
        if order.HasField(name):
            getattr(kept, name).CopyFrom(getattr(order, name))
    return kept
