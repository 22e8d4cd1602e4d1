"""Inputs: taken in, read, changed, deleted, counted. What becomes of new ones afterwards is services/ingest.py.

Bytes go to the blobs first, then everything else in one transaction: a crash between the two leaves a blob that nobody
refers to, never a row without its bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from lehr.errors import InvalidInput, NotFound
from lehr.jobs.queue import Queue
from lehr.protocol import resources_pb2, status_code_pb2, status_pb2
from lehr.protocol.ids import AppRef, checked_id, new_id
from lehr.protocol.patch import MERGE, checked_action, patched
from lehr.services import add_jobs, admission, index_state, ingest
from lehr.services.admission import Candidate
from lehr.services.batches import chunks, overall
from lehr.services.concepts import ensure_concepts, rename_labels
from lehr.services.labels import input_level, new_annotation, tell_annotations
from lehr.services.media import MAX_ROW_BYTES, host
from lehr.services.paging import MAX_PER_PAGE, Paging
from lehr.services.regions import PARTS, cleaned, labels_in
from lehr.store import annotations as annotation_rows
from lehr.store import datasets as dataset_rows
from lehr.store import inputs as input_rows
from lehr.store.beginnings import Beginnings
from lehr.store.blobs import Blobs
from lehr.store.db import Database

MAX_INPUTS = 128
"""Inputs in one request."""
PENDING = (status_code_pb2.INPUT_DOWNLOAD_PENDING, status_code_pb2.INPUT_DOWNLOAD_IN_PROGRESS)
GOOD = frozenset({status_code_pb2.INPUT_DOWNLOAD_SUCCESS, *PENDING})
_PATCHABLE = ("concepts", "metadata", "geo")


@dataclass(frozen=True, kw_only=True)
class Upload:
    """One PostInputs."""

    inputs: Sequence[resources_pb2.Input]
    add_job_id: str = ""
    """Under which progress is counted; made up where the client gives none."""
    with_suffixes: bool = False
    """Whether an id that is taken gets a suffix instead of a refusal."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An upload that has been looked at, and whose bytes are in the blobs."""

    candidates: Sequence[Candidate]
    shas: dict[int, str]
    job_id: str
    with_suffixes: bool


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """Its outcome, one input for each that was sent, in the same order."""

    inputs: Sequence[resources_pb2.Input]
    status: status_pb2.Status
    add_job: resources_pb2.InputsAddJob


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Needs the store, the blobs, and the queue for the processing of what comes in."""

    db: Database
    blobs: Blobs
    queue: Queue
    beginnings: Beginnings = field(default_factory=Beginnings)

    def post(self, ref: AppRef, user_id: str, upload: Upload) -> Uploaded:
        """Takes inputs in; each has its own status, and what needs processing is pending when this returns.

        Raises InvalidInput for a request without inputs or with too many: then nothing is taken in.
        """
        if not 1 <= len(upload.inputs) <= MAX_INPUTS:
            raise InvalidInput(f"A request brings 1 to {MAX_INPUTS} inputs; this one has {len(upload.inputs)}.")
        prepared = self.prepare(upload)
        with self.db.write() as tx:
            messages = self.admit(tx, ref, user_id, prepared)
            add_job = add_jobs.now(tx, ref, prepared.job_id)
        return Uploaded(inputs=messages, status=overall([each.status for each in messages], GOOD), add_job=add_job)

    def prepare(self, upload: Upload) -> Prepared:
        """Everything of an upload that needs no transaction: its inputs are looked at and their bytes are safe."""
        job_id = checked_id(upload.add_job_id or new_id(), "Inputs-add job", refuse=InvalidInput)
        candidates = [admission.read(order) for order in upload.inputs]
        shas = self._keep_bytes(candidates)
        return Prepared(candidates=candidates, shas=shas, job_id=job_id, with_suffixes=upload.with_suffixes)

    def admit(self, tx: Connection, ref: AppRef, user_id: str, prepared: Prepared) -> list[resources_pb2.Input]:
        """The rest of it, within a transaction of the caller's; answers the inputs, each with its own status."""
        job_id = prepared.job_id
        judged = _judged(tx, ref, prepared.candidates, with_suffixes=prepared.with_suffixes)
        for candidate in judged:
            candidate.message.status.CopyFrom(admission.first_status(candidate))
        add_jobs.open_job(tx, ref, job_id)
        admitted = [candidate for candidate in judged if candidate.is_admitted]
        _insert(tx, ref, user_id, admitted, prepared.shas, job_id)
        add_jobs.count_refused(tx, ref, job_id, len(judged) - len(admitted))
        self._queue_processing(tx, ref, admitted, job_id)
        return [_answered(candidate) for candidate in judged]

    def _keep_bytes(self, candidates: Sequence[Candidate]) -> dict[int, str]:
        """Candidate (by its place in memory) → blob of its bytes, which its row names from now on."""
        with_bytes = [candidate for candidate in candidates if candidate.is_admitted and candidate.medium.content]
        shas = self.blobs.put_many([candidate.medium.content for candidate in with_bytes])
        kept = {}
        for candidate, sha in zip(with_bytes, shas, strict=True):
            host(getattr(candidate.message.data, candidate.medium.kind), sha)
            kept[id(candidate.message)] = sha
        return kept

    def _queue_processing(self, tx: Connection, ref: AppRef, admitted: Iterable[Candidate], job_id: str) -> None:
        ids = [each.message.id for each in admitted if each.message.status.code in PENDING]
        if ids:
            payload = {"user_id": ref.user_id, "app_id": ref.app_id, "input_ids": ids}
            self.queue.add(tx, ingest.KIND, payload, add_jobs.subject(ref, job_id))

    def get(self, ref: AppRef, input_id: str) -> resources_pb2.Input:
        """One input. Raises NotFound (11101: clients wait for it after a delete)."""
        with self.db.read() as tx:
            found = _found(tx, ref, input_id)
            rename_labels(tx, ref, found.data.concepts)
        return found

    def list_of(
        self, ref: AppRef, paging: Paging, *, ids: Sequence[str] = (), status_code: int = 0
    ) -> list[resources_pb2.Input]:
        """A page of the app's inputs, oldest first; only these ids or this status, where given."""
        if len(ids) > MAX_PER_PAGE:
            raise InvalidInput(f"A list can be asked for at most {MAX_PER_PAGE} ids; this request names {len(ids)}.")
        filters = input_rows.InputFilter(ids=tuple(ids), statuses=(status_code,) if status_code else ())
        with self.db.read() as tx:
            if status_code in index_state.STATES and not ids:
                found = index_state.listed(tx, self.queue, ref, status_code, paging)
            elif filters == input_rows.InputFilter():
                found = input_rows.page_of_all(tx, ref, **paging._asdict(), beginnings=self.beginnings)
            else:
                found = input_rows.page(tx, ref, **paging._asdict(), filters=filters)
            rename_labels(tx, ref, [label for each in found for label in each.data.concepts])
        return found

    def stream(
        self, ref: AppRef, last_id: str, limit: int, *, by_id: bool = False, descending: bool = False
    ) -> list[resources_pb2.Input]:
        """Up to `limit` inputs behind the one called `last_id`: as fast at the end of the app as at its beginning.

        Raises NotFound where the order is that of arrival and the last one is gone.
        """
        with self.db.read() as tx:
            found = input_rows.stream(tx, ref, last_id=last_id, limit=limit, by_id=by_id, descending=descending)
            if found is None:
                raise NotFound(
                    f"There is no input {last_id!r} to go on from; it may have been deleted. Set order_by_id to go on "
                    "from any id, or begin again without last_id."
                )
            rename_labels(tx, ref, [label for each in found for label in each.data.concepts])
        return found

    def patch(
        self, ref: AppRef, user_id: str, changes: Sequence[resources_pb2.Input], action: str
    ) -> list[resources_pb2.Input]:
        """Changes concepts, metadata and geo of inputs, all or none; what an input shows stays.

        Raises NotFound, InvalidInput, or InvalidRequest for an unknown action.
        """
        action = checked_action(action or MERGE)
        if not 1 <= len(changes) <= MAX_INPUTS:
            raise InvalidInput(f"A request changes 1 to {MAX_INPUTS} inputs; this one has {len(changes)}.")
        wanted = [_change(change) for change in changes]
        with self.db.write() as tx:
            input_rows.lock(tx, ref)
            ensure_concepts(tx, ref, [label for change in wanted for label in change.data.concepts])
            done = [self._patched(tx, ref, change, action) for change in wanted]
            tell_annotations(tx, ref, user_id, done)
        return done

    def _patched(self, tx: Connection, ref: AppRef, change: resources_pb2.Input, action: str) -> resources_pb2.Input:
        stored = _found(tx, ref, change.id)
        changed = patched(stored, change, action)
        if changed.data.ByteSize() > MAX_ROW_BYTES:
            raise InvalidInput(
                f"Input {change.id!r} would hold {changed.data.ByteSize()} bytes; at most {MAX_ROW_BYTES}."
            )
        input_rows.update(tx, ref, [changed])
        return changed

    def delete(self, ref: AppRef, ids: Sequence[str]) -> int:
        """Deletes inputs with their annotations; ids that do not exist are passed over. No ids: nothing is deleted."""
        with self.db.write() as tx:
            return sum(input_rows.delete(tx, ref, some) for some in chunks(ids))

    def delete_one(self, ref: AppRef, input_id: str) -> None:
        """Deletes one input. Raises NotFound."""
        if not input_id or not self.delete(ref, [input_id]):
            raise _missing(ref, input_id)

    def count(self, ref: AppRef) -> resources_pb2.InputCount:
        """How many inputs are processed, waiting, being processed or failed; and the same of their vectors."""
        with self.db.read() as tx:
            counts = input_rows.status_counts(tx, ref)
            processed = counts.pop(status_code_pb2.INPUT_DOWNLOAD_SUCCESS, 0)
            waiting, working = (counts.pop(code, 0) for code in PENDING)
            errors = sum(counts.values())
            told = resources_pb2.InputCount(processed=processed, to_process=waiting, processing=working, errors=errors)
            index_state.count(tx, self.queue, ref, told)
        return told


def _judged(tx: Connection, ref: AppRef, candidates: Sequence[Candidate], *, with_suffixes: bool) -> list[Candidate]:
    asked = admission.ids_to_ask(candidates, with_suffixes=with_suffixes)
    urls = {candidate.medium.url for candidate in candidates} - {""}
    taken = input_rows.taken(tx, ref, ids=asked, urls=urls)
    named = {dataset_id for candidate in candidates for dataset_id in candidate.message.dataset_ids}
    known = {dataset_id for dataset_id in named if dataset_rows.get(tx, ref, dataset_id) is not None}
    unlike = admission.without_duplicates(candidates, taken, with_suffixes=with_suffixes)
    return admission.in_known_datasets(unlike, known)


def _insert(
    tx: Connection, ref: AppRef, user_id: str, admitted: Sequence[Candidate], shas: dict[int, str], job_id: str
) -> None:
    """Rows, labels and memberships of what is let in."""
    said = [candidate.message.data for candidate in admitted]
    said += [part for candidate in admitted for part in candidate.parts]
    ensure_concepts(tx, ref, [label for data in said for label in labels_in(data)])
    rows = [
        input_rows.NewInput(message=_row(each.message), content_sha=shas.get(id(each.message), ""), add_job_id=job_id)
        for each in admitted
    ]
    input_rows.insert(tx, ref, rows)
    for candidate, row in zip(admitted, rows, strict=True):
        candidate.message.created_at.CopyFrom(row.message.created_at)
        candidate.message.modified_at.CopyFrom(row.message.modified_at)
    annotation_rows.insert(tx, ref, [note for candidate in admitted for note in _notes(candidate, user_id)])
    for dataset_id in sorted({id_ for candidate in admitted for id_ in candidate.message.dataset_ids}):
        members = [each.message.id for each in admitted if dataset_id in each.message.dataset_ids]
        dataset_rows.add_inputs(tx, ref, dataset_id, members)


def _row(message: resources_pb2.Input) -> resources_pb2.Input:
    row = resources_pb2.Input()
    row.CopyFrom(message)
    del row.dataset_ids[:]  # memberships are rows of their own
    return row


def _notes(candidate: Candidate, user_id: str) -> list[resources_pb2.Annotation]:
    message = candidate.message
    own = [input_level(message, user_id)] if message.data.concepts else []
    return own + [new_annotation(message.id, user_id, part) for part in candidate.parts]


def _answered(candidate: Candidate) -> resources_pb2.Input:
    """A refused input is answered with its id and the reason: it has no blob that could be shown."""
    if candidate.is_admitted:
        return candidate.message
    return resources_pb2.Input(id=candidate.message.id, status=candidate.message.status)


def _change(change: resources_pb2.Input) -> resources_pb2.Input:
    """What of a change counts."""
    wanted = resources_pb2.Input(id=change.id)
    for part in PARTS:
        if getattr(change.data, part):
            raise InvalidInput(f"data.{part} are annotations of their own: use PatchAnnotations or PostAnnotations.")
    for changed, value in change.data.ListFields():
        if changed.name in _PATCHABLE and changed.is_repeated:
            getattr(wanted.data, changed.name).extend(value)
        elif changed.name in _PATCHABLE:
            getattr(wanted.data, changed.name).CopyFrom(value)
    cleaned(wanted.data)
    return wanted


def _found(tx: Connection, ref: AppRef, input_id: str) -> resources_pb2.Input:
    found = input_rows.get(tx, ref, input_id)
    if found is None:
        raise _missing(ref, input_id)
    return found


def _missing(ref: AppRef, input_id: str) -> NotFound:
    return NotFound(f"There is no input {input_id!r} in app {ref.app_id!r}.")
