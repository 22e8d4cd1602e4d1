"""Frozen versions of data sets as files: asked for and told here, made by services/dataset_exporting.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from lehr.errors import InvalidRequest, NotFound
from lehr.jobs.queue import Queue, State
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.statuses import status
from lehr.store import dataset_exports as rows
from lehr.store.clock import now_ms
from lehr.store.dataset_exports import ExportRef, StoredExport
from lehr.store.db import Database

KIND = "export-dataset"
FORMATS = {
    resources_pb2.CLARIFAI_DATA_PROTOBUF: "clarifai-data-protobuf",
    resources_pb2.CLARIFAI_DATA_JSON: "clarifai-data-json",
    resources_pb2.COCO: "coco",
}
"""Format → what its file is called."""
WITH_ADDRESSES = frozenset({resources_pb2.CLARIFAI_DATA_PROTOBUF, resources_pb2.CLARIFAI_DATA_JSON})
"""Formats with addresses of pictures in them."""
KEPT_SECONDS = 60.0
"""So long a finished export is there for who asked for it, before one under another address takes its place."""
MAX_EXPORTS = 32
PENDING, IN_PROGRESS = (
    status_code_pb2.DATASET_VERSION_EXPORT_PENDING,
    status_code_pb2.DATASET_VERSION_EXPORT_IN_PROGRESS,
)
SUCCESS, FAILED = status_code_pb2.DATASET_VERSION_EXPORT_SUCCESS, status_code_pb2.DATASET_VERSION_EXPORT_FAILED


@dataclass(frozen=True, kw_only=True)
class DatasetExports:
    """The request half. Needs the store and the queue."""

    db: Database
    queue: Queue

    def request(
        self,
        ref: AppRef,
        version: tuple[str, str],
        wanted: Sequence[resources_pb2.DatasetVersionExport],
        base_url: str,
    ) -> list[resources_pb2.DatasetVersionExport]:
        """Has a version (data set id, version id) exported; asked again, answers how it stands; a failed one is tried
        again. Addresses inside begin with `base_url`: under another address it is made anew, after the one that is
        being made and has yet to be fetched.

        Raises NotFound, or InvalidRequest for a format that is not offered.
        """
        if not 1 <= len(wanted) <= MAX_EXPORTS:
            raise InvalidRequest(f"A request asks for 1 to {MAX_EXPORTS} exports; this one has {len(wanted)}.")
        refs = [_checked(ref, version, each) for each in wanted]
        with self.db.write() as tx:
            return [self._asked(tx, export, base_url) for export in refs]

    def _asked(self, tx: Connection, ref: ExportRef, base_url: str) -> resources_pb2.DatasetVersionExport:
        present = rows.get(tx, ref)
        if present and present.export.status.code != FAILED:
            is_ours = present.base_url == base_url or ref.format not in WITH_ADDRESSES
            if is_ours or present.export.status.code != SUCCESS:
                return present.export
            if self._is_fresh(tx, ref):
                sentence = f"Waits until what was exported under {present.base_url} was fetched, a minute at most."
                return _pending(ref, sentence)
        self.queue.cancel(tx, subject(ref))
        export = _pending(ref)
        rows.put(tx, ref, StoredExport(export=export, base_url=base_url))
        self.queue.add(tx, KIND, payload_of(ref), subject(ref))
        return export

    def _is_fresh(self, tx: Connection, ref: ExportRef) -> bool:
        """Whether the export was finished a moment ago, or is being finished."""
        since = tx.execute(select(now_ms())).scalar_one() - KEPT_SECONDS * 1000
        views = self.queue.of_subject(tx, subject(ref))
        return any(
            not view.state.is_final or (view.state is State.DONE and (view.finished_at or 0) > since) for view in views
        )

    def sha(self, ref: ExportRef) -> str:
        """The blob of a finished export. Raises NotFound while there is none."""
        with self.db.read() as tx:
            stored = rows.get(tx, ref)
        if stored is None or not stored.sha:
            raise NotFound(
                f"This export of version {ref.version_id!r} is not there; PutDatasetVersionExports asks for it."
            )
        return stored.sha


def _pending(ref: ExportRef, sentence: str = "") -> resources_pb2.DatasetVersionExport:
    export = resources_pb2.DatasetVersionExport(status=status(PENDING, sentence))
    export.format, export.include_embeddings = ref.format, ref.with_embeddings
    return export


def subject(ref: ExportRef) -> str:
    """The queue's name for an export."""
    name = f"{FORMATS[ref.format]}{'+embeddings' if ref.with_embeddings else ''}"
    return f"{ref.app.user_id}/{ref.app.app_id}/+exports/{ref.dataset_id}/{ref.version_id}/{name}"


def payload_of(ref: ExportRef) -> dict[str, Any]:
    """What the job carries."""
    return {
        "user_id": ref.app.user_id,
        "app_id": ref.app.app_id,
        "dataset_id": ref.dataset_id,
        "version_id": ref.version_id,
        "format": ref.format,
        "with_embeddings": ref.with_embeddings,
    }


def ref_in(payload: Mapping[str, Any]) -> ExportRef:
    """The other way."""
    rest = {name: value for name, value in payload.items() if name not in ("user_id", "app_id")}
    return ExportRef(app=AppRef(payload["user_id"], payload["app_id"]), **rest)


def path_of(ref: ExportRef) -> str:
    """Where the file of an export is fetched; to be signed."""
    app = f"users/{ref.app.user_id}/apps/{ref.app.app_id}"
    name = FORMATS[ref.format]
    return f"/exports/{app}/datasets/{ref.dataset_id}/versions/{ref.version_id}/{name}.zip"


def format_called(name: str) -> int:
    """The format of a file's name. Raises NotFound."""
    for number, known in FORMATS.items():
        if known == name:
            return number
    raise NotFound(f"There is no export format {name[:80]!r}; there are {', '.join(FORMATS.values())}.")


def _checked(ref: AppRef, version: tuple[str, str], wanted: resources_pb2.DatasetVersionExport) -> ExportRef:
    if wanted.format not in FORMATS:
        raise InvalidRequest(
            f"Export format {wanted.format} is not offered; there are "
            f"{', '.join(f'{number} ({name})' for number, name in FORMATS.items())}."
        )
    if wanted.include_embeddings:
        raise InvalidRequest(
            "include_embeddings is not offered: embeddings change with the app's base workflow, a version does not."
        )
    dataset_id, version_id = version
    return ExportRef(app=ref, dataset_id=dataset_id, version_id=version_id, format=wanted.format)
