"""Trained versions as files for use elsewhere: asked for and told here, made by services/exporting.py."""

from __future__ import annotations

from dataclasses import dataclass

from lehr.errors import InvalidModel, NotFound, Untrained
from lehr.jobs.queue import Queue
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.statuses import status
from lehr.services.models import found_version
from lehr.store import bundles as bundle_rows
from lehr.store import model_exports as rows
from lehr.store.db import Database
from lehr.store.model_exports import StoredExport
from lehr.store.versions import ModelVersionRef

KIND = "export"
"""Of the job: its subject is the version, so that deleting that cancels it."""
FAILED = status_code_pb2.MODEL_EXPORTING_FAILED


@dataclass(frozen=True, kw_only=True)
class Exports:
    """The request half. Needs the store and the queue."""

    db: Database
    queue: Queue

    def request(self, vref: ModelVersionRef) -> resources_pb2.ModelVersionExport:
        """Has the version exported, unless it is already, or about to be; one that failed is tried again.

        Raises ModelNotFound, Untrained for a version without a result, InvalidModel for one that is not trained here.
        """
        with self.db.write() as tx:
            version = found_version(tx, vref.app, vref.model_id, vref.version_id)
            if version.status.code != status_code_pb2.MODEL_TRAINED:
                raise Untrained(
                    f"Version {vref.version_id!r} of model {vref.model_id!r} is not trained ({version.status.code}, "
                    f"{version.status.description}): train it and wait for {status_code_pb2.MODEL_TRAINED}."
                )
            if bundle_rows.get(tx, vref) is None:
                raise InvalidModel(f"Model {vref.model_id!r} computes without weights: there is nothing to export.")
            present = rows.get(tx, vref)
            if present is not None and present.export.status.code != FAILED:
                return present.export
            export = resources_pb2.ModelVersionExport(status=status(status_code_pb2.MODEL_EXPORT_PENDING))
            rows.put(tx, vref, StoredExport(export=export))
            self.queue.add_once(tx, KIND, {}, str(vref))
        return export

    def get(self, vref: ModelVersionRef) -> resources_pb2.ModelVersionExport:
        """How the export stands, without its address. Raises ModelNotFound, and NotFound if none was asked for."""
        return self._stored(vref).export

    def sha(self, vref: ModelVersionRef) -> str:
        """The blob of a finished export. Raises NotFound while there is none."""
        stored = self._stored(vref)
        if not stored.sha:
            raise NotFound(f"The export of version {vref.version_id!r} is not there yet.")
        return stored.sha

    def _stored(self, vref: ModelVersionRef) -> StoredExport:
        with self.db.read() as tx:
            found_version(tx, vref.app, vref.model_id, vref.version_id)
            stored = rows.get(tx, vref)
        if stored is None:
            raise NotFound(
                f"Version {vref.version_id!r} of model {vref.model_id!r} has not been exported: "
                "ask for it with PutModelVersionExports."
            )
        return stored


def path_of(vref: ModelVersionRef) -> str:
    """Where the file of an export is fetched; to be signed."""
    app = f"users/{vref.app.user_id}/apps/{vref.app.app_id}"
    return f"/exports/{app}/models/{vref.model_id}/versions/{vref.version_id}.zip"
