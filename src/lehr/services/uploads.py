"""Uploads in parts: a file sent in pieces, in any order, again after a broken connection.

A part is acknowledged when its bytes and its row are on the disk. What is made of a complete upload is not known here,
but that archives which wait for it are unpacked from then on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from lehr.errors import Duplicate, InvalidRequest, NotFound
from lehr.jobs.queue import Queue
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef, checked_id, new_id
from lehr.protocol.statuses import status
from lehr.services import extraction_states
from lehr.services.paging import Paging
from lehr.store import extractions as extraction_rows
from lehr.store import uploads as upload_rows
from lehr.store.blobs import Blobs
from lehr.store.db import Database
from lehr.store.times import micros, now, timestamp
from lehr.store.uploads import Part, StoredUpload

MAX_UPLOADS = 32
"""Uploads in one request."""
MAX_PARTS = 1000
"""Parts in one request."""
MAX_BYTES = 64 * 2**30
"""Of one upload."""
MAX_NAME_LENGTH = 1000
KEPT_SECONDS = 7 * 86_400
"""After its last part an upload is kept so long."""
IN_PROGRESS, DONE = status_code_pb2.UPLOAD_IN_PROGRESS, status_code_pb2.UPLOAD_DONE
EXPIRED, CONFLICT = status_code_pb2.UPLOAD_EXPIRED, status_code_pb2.UPLOAD_CONFLICT


@dataclass(frozen=True, kw_only=True)
class Uploads:
    """Needs the store, the blobs, and the queue for what waits for an upload."""

    db: Database
    blobs: Blobs
    queue: Queue

    def post(self, ref: AppRef, orders: Sequence[resources_pb2.Upload]) -> list[resources_pb2.Upload]:
        """Opens uploads, all or none; one that is open already under the same id and length is answered as it stands.

        Raises InvalidRequest, or Duplicate for an id of another upload.
        """
        if not 1 <= len(orders) <= MAX_UPLOADS:
            raise InvalidRequest(f"A request opens 1 to {MAX_UPLOADS} uploads; this one has {len(orders)}.")
        with self.db.write() as tx:
            return [opened(tx, ref, order).message for order in orders]

    def put_parts(
        self, ref: AppRef, upload_id: str, parts: Sequence[resources_pb2.UploadContentPart]
    ) -> resources_pb2.Upload:
        """Keeps parts, all or none; one that is there already with the same bytes changes nothing.

        Raises NotFound, or InvalidRequest for a part beyond the end or across another part.
        """
        if not 1 <= len(parts) <= MAX_PARTS:
            raise InvalidRequest(f"A request brings 1 to {MAX_PARTS} parts; this one has {len(parts)}.")
        with self.db.read() as tx:
            upload = _open(_found(tx, ref, upload_id))
        for part in parts:
            _check_range(upload.message, part)
        shas = self.blobs.put_many([part.data for part in parts])
        with self.db.write() as tx:
            upload = _open(_found(tx, ref, upload_id, lock=True))
            for part, sha in zip(parts, shas, strict=True):
                start = int(part.range_start)
                _keep(tx, upload, Part(start=start, end=start + len(part.data), sha=sha))
            return self._as_far(tx, upload)

    def _as_far(self, tx: Connection, upload: StoredUpload) -> resources_pb2.Upload:
        """Writes how much is there; starts what waits for it when that is all."""
        message, ref = upload.message, upload.app
        was_done = message.status.code == DONE
        _say(message, upload_rows.received(tx, upload.key))
        message.expires_at.CopyFrom(_expiry())
        upload_rows.update(tx, ref, message)
        if message.status.code == DONE and not was_done:
            for waiting in extraction_rows.of_upload(tx, [upload.key]):
                if not extraction_states.is_over(waiting.message):
                    extraction_states.start(tx, self.queue, ref, waiting.id)
        return message

    def get(self, ref: AppRef, upload_id: str) -> resources_pb2.Upload:
        """One upload; its status says how much is there and where the first gap is. Raises NotFound."""
        with self.db.read() as tx:
            upload = _found(tx, ref, upload_id)
            if upload.message.status.code == IN_PROGRESS:
                gap = upload_rows.missing_from(tx, upload.key)
                upload.message.status.details += f" The first byte that is missing is {gap}."
        return _as_of_now(upload.message)

    def list_of(self, ref: AppRef, paging: Paging) -> list[resources_pb2.Upload]:
        """A page of the app's uploads, newest first."""
        with self.db.read() as tx:
            found = upload_rows.page(tx, ref, page=paging.page, per_page=paging.per_page)
        return [_as_of_now(upload.message) for upload in found]

    def delete(self, ref: AppRef, ids: Sequence[str]) -> int:
        """Deletes uploads and stops the unpacking of them; the inputs that came out stay. No ids: none is deleted."""
        with self.db.write() as tx:
            found = [upload for each in ids if (upload := upload_rows.get(tx, ref, each, lock=True))]
            return discard(tx, self.queue, found, "The upload was deleted before its archive was unpacked.")


def opened(tx: Connection, ref: AppRef, order: resources_pb2.Upload) -> StoredUpload:
    """The upload that an order is for: made now, or there already. Raises InvalidRequest or Duplicate."""
    upload_id = checked_id(order.id, "Upload") if order.id else new_id()
    present = upload_rows.get(tx, ref, upload_id)
    if present is None:
        upload_rows.insert(tx, ref, _new(upload_id, order))
        present = _found(tx, ref, upload_id)
    elif order.content_length not in (0, present.message.content_length):
        raise Duplicate(
            f"Upload {upload_id!r} already exists, with {present.message.content_length:,} bytes and not "
            f"{order.content_length:,}; choose another id."
        )
    return present


def discard(tx: Connection, queue: Queue, uploads: Sequence[StoredUpload], sentence: str) -> int:
    """Deletes uploads; what waits for them or reads them is cancelled, with the sentence."""
    for extraction in extraction_rows.of_upload(tx, [upload.key for upload in uploads]):
        extraction_states.cancel(tx, queue, extraction, sentence)
    return sum(upload_rows.delete(tx, upload.app, [upload.message.id]) for upload in uploads)


def expire(db: Database, queue: Queue, *, at_once: int = 500) -> int:
    """Deletes the uploads whose time is over; answers how many went."""
    with db.write() as tx:
        found = upload_rows.expired(tx, micros(now()), limit=at_once)
        return discard(tx, queue, found, "The upload expired before its archive was unpacked.")


def _new(upload_id: str, order: resources_pb2.Upload) -> resources_pb2.Upload:
    if not 1 <= order.content_length <= MAX_BYTES:
        raise InvalidRequest(
            f"Upload content_length is {order.content_length}; it is the size of the whole file in bytes, 1 to "
            f"{MAX_BYTES:,}."
        )
    if len(order.content_name) > MAX_NAME_LENGTH or not order.content_name.isprintable():
        raise InvalidRequest(f"Upload content_name has at most {MAX_NAME_LENGTH} characters, none of them unprintable.")
    made = resources_pb2.Upload(id=upload_id, content_name=order.content_name, content_length=order.content_length)
    made.expires_at.CopyFrom(_expiry())
    _say(made, 0)
    return made


def _expiry() -> object:
    return timestamp(int((time.time() + KEPT_SECONDS) * 1_000_000))


def _say(upload: resources_pb2.Upload, num_received: int) -> None:
    whole = upload.content_length
    code = DONE if num_received == whole else IN_PROGRESS
    sentence = f"{num_received:,} of {whole:,} bytes are here."
    upload.status.CopyFrom(status(code, sentence, percent_completed=100 * num_received // whole))


def _as_of_now(upload: resources_pb2.Upload) -> resources_pb2.Upload:
    if micros(upload.expires_at) < micros(now()):
        upload.status.CopyFrom(status(EXPIRED, "Nothing was sent for a week; begin again with a new upload."))
    return upload


def _found(tx: Connection, ref: AppRef, upload_id: str, *, lock: bool = False) -> StoredUpload:
    found = upload_rows.get(tx, ref, upload_id, lock=lock)
    if found is None:
        raise NotFound(f"There is no upload {upload_id!r} in app {ref.app_id!r}.")
    return found


def _open(upload: StoredUpload) -> StoredUpload:
    if _as_of_now(upload.message).status.code == EXPIRED:
        raise InvalidRequest(f"Upload {upload.message.id!r} has expired; begin again with a new one.", code=EXPIRED)
    return upload


def _check_range(upload: resources_pb2.Upload, part: resources_pb2.UploadContentPart) -> None:
    start, end = int(part.range_start), int(part.range_start) + len(part.data)
    if not part.data:
        raise InvalidRequest(f"The part at range_start {start} has no data.")
    if end > upload.content_length:
        raise InvalidRequest(
            f"The part at range_start {start} has {len(part.data):,} bytes and would end at {end:,}; upload "
            f"{upload.id!r} has {upload.content_length:,} bytes."
        )


def _keep(tx: Connection, upload: StoredUpload, part: Part) -> None:
    there = upload_rows.overlapping(tx, upload.key, part.start, part.end)
    if there == [part]:
        return  # sent again after its answer was lost
    if there:
        ranges = ", ".join(f"{each.start} to {each.end - 1}" for each in there[:5])
        raise InvalidRequest(
            f"The part of bytes {part.start} to {part.end - 1} crosses what is here with other bytes or borders: "
            f"{ranges}. Send it with the same borders and bytes, or delete the upload and begin again.",
            code=CONFLICT,
        )
    if upload.message.status.code == DONE:
        raise InvalidRequest(
            f"Upload {upload.message.id!r} is complete, and its bytes were used up when its archive was unpacked.",
            code=CONFLICT,
        )
    upload_rows.add_part(tx, upload.key, part)
