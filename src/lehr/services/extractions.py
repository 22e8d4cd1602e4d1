"""Archives that are to become inputs: asked for, followed, cancelled. The unpacking is services/extracting.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from lehr.errors import InvalidInput, InvalidRequest, NotFound
from lehr.jobs.queue import Queue
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef, checked_id, new_id
from lehr.services import add_jobs, extraction_states, uploads
from lehr.services.media import checked_url
from lehr.services.paging import Paging
from lehr.services.regions import cleaned
from lehr.store import datasets as dataset_rows
from lehr.store import extractions as extraction_rows
from lehr.store.db import Database
from lehr.store.extractions import Reached, StoredExtraction

MAX_ARCHIVES = 32
"""Archives in one request."""
_IN_TEMPLATES = frozenset({"concepts", "metadata", "geo"})


@dataclass(frozen=True, kw_only=True)
class Order:
    """One archive that is to become inputs."""

    add_job_id: str
    template: resources_pb2.Input
    conflicts: int
    """An InputIDConflictResolution."""
    upload: resources_pb2.Upload | None = None
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class Extractions:
    """Needs the store and the queue."""

    db: Database
    queue: Queue

    def post(self, ref: AppRef, user_id: str, orders: Sequence[Order]) -> list[resources_pb2.InputsAddJob]:
        """Asks for archives to be unpacked, all or none; the same order again under the same ids changes nothing.

        An archive that is still to be uploaded is unpacked as soon as its last part is here. Raises InvalidRequest,
        InvalidInput or Duplicate.
        """
        if not 1 <= len(orders) <= MAX_ARCHIVES:
            raise InvalidRequest(f"A request names 1 to {MAX_ARCHIVES} archives; this one names {len(orders)}.")
        with self.db.write() as tx:
            return [self._asked(tx, ref, user_id, order) for order in orders]

    def _asked(self, tx: Connection, ref: AppRef, user_id: str, order: Order) -> resources_pb2.InputsAddJob:
        template = _checked_template(tx, ref, order.template)
        add_job_id = checked_id(order.add_job_id or new_id(), "Inputs-add job", refuse=InvalidInput)
        add_jobs.open_job(tx, ref, add_job_id)
        upload = uploads.opened(tx, ref, order.upload) if order.upload is not None else None
        upload_id = upload.message.id if upload else ""
        known = [(each.upload_id, each.message.url) for each in extraction_rows.of_add_job(tx, ref, add_job_id)]
        if (upload_id, order.url) not in known:
            is_here = upload is None or upload.message.status.code == status_code_pb2.UPLOAD_DONE
            made = _new(template, order, "" if is_here else "Waits for its upload.")
            row = StoredExtraction(
                app=ref,
                id=made.id,
                add_job_id=add_job_id,
                user_id=user_id,
                upload_id=upload_id,
                upload_key=upload.key if upload else None,
                archive_sha="",
                reached=Reached(),
                message=made,
            )
            extraction_rows.insert(tx, row)
            if is_here:
                extraction_states.start(tx, self.queue, ref, made.id)
        return add_jobs.now(tx, ref, add_job_id)

    def get(self, ref: AppRef, extraction_id: str) -> resources_pb2.InputsExtractionJob:
        """One extraction. Raises NotFound."""
        with self.db.read() as tx:
            return _found(tx, ref, extraction_id).message

    def list_of(self, ref: AppRef, paging: Paging) -> list[resources_pb2.InputsExtractionJob]:
        """A page of the app's extractions, newest first."""
        with self.db.read() as tx:
            found = extraction_rows.page(tx, ref, page=paging.page, per_page=paging.per_page)
        return [stored.message for stored in found]

    def cancel(self, ref: AppRef, ids: Sequence[str]) -> list[resources_pb2.InputsExtractionJob]:
        """Stops them, all or none; the inputs that came out stay, and one that has ended stays as it ended.

        Raises NotFound. No ids: none is cancelled.
        """
        with self.db.write() as tx:
            found = [_found(tx, ref, extraction_id) for extraction_id in ids]
            for stored in found:
                extraction_states.cancel(tx, self.queue, stored, "Cancelled; the inputs that came out of it stay.")
        return [stored.message for stored in found]


def uploaded(order: resources_pb2.InputsUpload) -> Order:
    """The order of a PostInputsUploads."""
    if not order.HasField("upload"):
        raise InvalidRequest("Each of inputs_uploads needs an upload: an id of one, or its content_length.")
    return Order(
        add_job_id=order.inputs_add_job_id,
        template=order.input_template,
        conflicts=order.input_id_conflict_resolution,
        upload=order.upload,
    )


def sourced(order: resources_pb2.InputsDataSource) -> Order:
    """The order of a PostInputsDataSources. Raises InvalidInput for a URL that cannot be fetched."""
    if order.url.HasField("credentials"):
        raise InvalidRequest("Credentials of cloud stores are not taken: give a signed https URL of the archive.")
    return Order(
        add_job_id=order.inputs_add_job_id,
        template=order.input_template,
        conflicts=order.input_id_conflict_resolution,
        url=checked_url(order.url.url),
    )


def _new(template: resources_pb2.Input, order: Order, sentence: str) -> resources_pb2.InputsExtractionJob:
    made = resources_pb2.InputsExtractionJob(id=new_id(), url=order.url, input_template=template)
    made.input_id_conflict_resolution = order.conflicts or resources_pb2.SKIP
    extraction_states.say(made, extraction_states.QUEUED, sentence)
    return made


def _checked_template(tx: Connection, ref: AppRef, template: resources_pb2.Input) -> resources_pb2.Input:
    """What of a template counts. Raises InvalidInput for a data set that is not there or data that cannot be shared."""
    for dataset_id in template.dataset_ids:
        if dataset_rows.get(tx, ref, dataset_id) is None:
            raise InvalidInput(f"input_template names dataset {dataset_id!r}, which does not exist; make it first.")
    others = sorted({field.name for field, _ in template.data.ListFields()} - _IN_TEMPLATES)
    if others or template.id:
        found = "an id" if template.id else f"data.{others[0]}"
        raise InvalidInput(
            f"input_template has {found}; what all inputs of an archive can share is dataset_ids and data.concepts, "
            "data.metadata, data.geo."
        )
    kept = resources_pb2.Input(dataset_ids=template.dataset_ids)
    kept.data.CopyFrom(template.data)
    cleaned(kept.data)
    return kept


def _found(tx: Connection, ref: AppRef, extraction_id: str) -> StoredExtraction:
    stored = extraction_rows.get(tx, ref, extraction_id)
    if stored is None:
        raise NotFound(f"There is no extraction job {extraction_id!r} in app {ref.app_id!r}.")
    return stored
