"""Annotations: what people say of inputs and of parts of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from lehr.errors import InvalidAnnotation, InvalidConcept, InvalidRequest, LehrError, NotFound
from lehr.protocol import resources_pb2, status_code_pb2, status_pb2
from lehr.protocol.ids import AppRef, checked_id
from lehr.protocol.patch import MERGE, REMOVE, checked_action, patched
from lehr.protocol.statuses import describe, status
from lehr.services.batches import chunks, overall, refusal
from lehr.services.concepts import ensure_concepts, rename_labels
from lehr.services.labels import new_annotation, tell_inputs
from lehr.services.paging import MAX_PER_PAGE, Paging
from lehr.services.regions import cleaned, labels_in
from lehr.store import annotations as annotation_rows
from lehr.store import inputs as input_rows
from lehr.store import users as user_rows
from lehr.store.annotations import AnnotationFilter
from lehr.store.db import Database

MAX_ANNOTATIONS = 1000
"""Annotations in one request."""
STATUSES = range(status_code_pb2.ANNOTATION_SUCCESS, status_code_pb2.ANNOTATION_SUCCESS + 10)
"""Codes that a client may give an annotation: reviews and the like."""
GOOD = frozenset(STATUSES) - {status_code_pb2.ANNOTATION_INVALID_ARGUMENT, status_code_pb2.ANNOTATION_FAILED}


@dataclass(frozen=True, kw_only=True)
class Posted:
    """What became of annotations, in the order in which they were sent."""

    annotations: Sequence[resources_pb2.Annotation]
    status: status_pb2.Status


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which annotations a list is of."""

    filters: AnnotationFilter = field(default_factory=AnnotationFilter)
    pairs: Sequence[tuple[str, str]] = ()
    """(input id, annotation id), where both are named: ids are unique only within their input."""
    also_by_models: bool = False


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """Needs only the store."""

    db: Database

    def post(self, ref: AppRef, user_id: str, orders: Sequence[resources_pb2.Annotation]) -> Posted:
        """Adds annotations; each has its own status. Raises InvalidAnnotation for none or too many of them."""
        _check_number(orders)
        made = [_read(order, user_id) for order in orders]
        with self.db.write() as tx:
            input_rows.lock(tx, ref)
            self._admit(tx, ref, made)
            good = [annotation for annotation in made if annotation.status.code in GOOD]
            ensure_concepts(tx, ref, [label for each in good for label in labels_in(each.data)])
            annotation_rows.insert(tx, ref, good)
            tell_inputs(tx, ref, _input_ids(each for each in good if each.input_level))
        return Posted(annotations=made, status=overall([each.status for each in made], GOOD))

    @staticmethod
    def _admit(tx: Connection, ref: AppRef, made: Sequence[resources_pb2.Annotation]) -> None:
        """Refuses, in place, what has no input or says twice what can be said once."""
        ids = _input_ids(made)
        known = {id_ for some in chunks(ids) for id_ in input_rows.get_many(tx, ref, some)}
        present = annotation_rows.of_inputs(tx, ref, known)
        taken = {(input_id, each.id) for input_id, notes in present.items() for each in notes}
        levelled = {input_id for input_id, notes in present.items() if any(each.input_level for each in notes)}
        for annotation in made:
            if annotation.status.code not in GOOD:
                continue
            error = _objection(annotation, known, taken, levelled)
            if error:
                annotation.status.CopyFrom(refusal(InvalidAnnotation(error)))
                continue
            taken.add((annotation.input_id, annotation.id))
            levelled |= {annotation.input_id} if annotation.input_level else set()

    def get(self, ref: AppRef, input_id: str, annotation_id: str) -> resources_pb2.Annotation:
        """One annotation. Raises NotFound."""
        with self.db.read() as tx:
            found = _found(tx, ref, input_id, annotation_id)
            rename_labels(tx, ref, labels_in(found.data))
        return found

    def list_of(self, ref: AppRef, wanted: Wanted, paging: Paging) -> list[resources_pb2.Annotation]:
        """A page of annotations, oldest first; by people only, unless `also_by_models`."""
        filters = wanted.filters
        if not wanted.also_by_models:
            filters = replace(filters, people_only=True)
        with self.db.read() as tx:
            if wanted.pairs:
                start = (paging.page - 1) * paging.per_page
                found = list(_of_pairs(tx, ref, wanted.pairs, filters))[start : start + paging.per_page]
            else:
                found = annotation_rows.page(tx, ref, page=paging.page, per_page=paging.per_page, filters=filters)
            rename_labels(tx, ref, [label for each in found for label in labels_in(each.data)])
        return found

    def workers(
        self, ref: AppRef, paging: Paging, *, people_only: bool = False, with_names: bool = False
    ) -> list[resources_pb2.Worker]:
        """A page of the people, models and workflows that annotated in the app; names of people where asked for."""
        page, per_page = paging.page, paging.per_page
        with self.db.read() as tx:
            found = annotation_rows.workers(tx, ref, people_only=people_only, page=page, per_page=per_page)
            return [_worker(tx, *one, with_names=with_names) for one in found]

    def patch(
        self,
        ref: AppRef,
        changes: Sequence[resources_pb2.Annotation],
        action: str,
        *,
        delete_if_empty: bool = False,
    ) -> list[resources_pb2.Annotation]:
        """Changes data, info and status of annotations, all or none.

        `delete_if_empty` deletes those that a "remove" leaves without data, but never an input-level one.
        Raises NotFound, InvalidAnnotation, or InvalidRequest for an unknown action.
        """
        action = checked_action(action or MERGE)
        _check_number(changes)
        with self.db.write() as tx:
            input_rows.lock(tx, ref)
            done = [_patched(tx, ref, change, action) for change in changes]
            ensure_concepts(tx, ref, [label for each in done for label in labels_in(each.data)])
            annotation_rows.update(tx, ref, done)
            if delete_if_empty and action == REMOVE:
                for empty in (each for each in done if not each.data.ListFields() and not each.input_level):
                    annotation_rows.delete(tx, ref, input_ids=[empty.input_id], ids=[empty.id])
            tell_inputs(tx, ref, _input_ids(each for each in done if each.input_level))
        return done

    def delete(self, ref: AppRef, input_ids: Sequence[str], ids: Sequence[str] = ()) -> int:
        """Deletes the annotations (input_ids[i], ids[i]), or without ids all annotations of the inputs.

        Answers how many went; what does not exist is passed over. Raises InvalidRequest where no input is named.
        """
        pairs = paired(input_ids, ids)
        if not input_ids:
            raise InvalidRequest("Name the inputs whose annotations are to be deleted: `input_ids` is empty.")
        gone = 0
        with self.db.write() as tx:
            input_rows.lock(tx, ref)
            for input_id, annotation_id in pairs:
                gone += annotation_rows.delete(tx, ref, input_ids=[input_id], ids=[annotation_id])
            for some in chunks(input_ids) if not pairs else ():
                gone += annotation_rows.delete(tx, ref, input_ids=some)
            for some in chunks(list(dict.fromkeys(input_ids))):
                tell_inputs(tx, ref, some)
        return gone

    def delete_one(self, ref: AppRef, input_id: str, annotation_id: str) -> None:
        """Deletes one annotation. Raises NotFound."""
        if not (input_id and annotation_id and self.delete(ref, [input_id], [annotation_id])):
            raise _missing(input_id, annotation_id)


def _worker(
    tx: Connection, user_id: str, model_version_id: str, workflow_version_id: str, *, with_names: bool
) -> resources_pb2.Worker:
    if workflow_version_id:
        wanted = resources_pb2.WorkflowVersion(id=workflow_version_id)
        return resources_pb2.Worker(workflow=resources_pb2.Workflow(version=wanted))
    if model_version_id:
        version = resources_pb2.ModelVersion(id=model_version_id)
        return resources_pb2.Worker(model=resources_pb2.Model(model_version=version))
    user = resources_pb2.User(id=user_id)
    known = user_rows.get(tx, user_id) if with_names else None
    if known is not None:
        user.first_name, user.last_name = known.first_name, known.last_name
    return resources_pb2.Worker(user=user)


def paired(input_ids: Sequence[str], ids: Sequence[str]) -> list[tuple[str, str]]:
    """(input id, annotation id) for each id. Raises InvalidRequest unless there is an input id for each."""
    if ids and len(ids) != len(input_ids):
        raise InvalidRequest(
            f"Each annotation id needs the id of its input at the same place: there are {len(ids)} `ids` "
            f"and {len(input_ids)} `input_ids`."
        )
    return list(zip(input_ids, ids, strict=True)) if ids else []


def _check_number(annotations: Sequence[resources_pb2.Annotation]) -> None:
    if not 1 <= len(annotations) <= MAX_ANNOTATIONS:
        raise InvalidAnnotation(
            f"A request carries 1 to {MAX_ANNOTATIONS} annotations; this one has {len(annotations)}."
        )


def _read(order: resources_pb2.Annotation, user_id: str) -> resources_pb2.Annotation:
    """What the order's row will be; with the status of a refusal if something is wrong with the order itself."""
    made = new_annotation(order.input_id, user_id, order.data)
    made.id = order.id or made.id
    made.input_level, made.task_id = order.input_level, order.task_id
    if order.HasField("annotation_info"):
        made.annotation_info.CopyFrom(order.annotation_info)
    made.model_version_id = order.model_version_id or order.worker.model.model_version.id
    if made.model_version_id:
        made.worker.model.model_version.id = made.model_version_id
        made.trusted = False
    elif order.worker.workflow.version.id:
        made.worker.workflow.version.id = order.worker.workflow.version.id
        made.worker.workflow.id = order.worker.workflow.id
        made.trusted = False
    try:
        checked_id(made.id, "Annotation", refuse=InvalidAnnotation)
        if order.status.code:
            made.status.CopyFrom(_checked_status(order.status.code))
        cleaned(made.data)
    except LehrError as error:
        made.status.CopyFrom(refusal(_as_annotation_error(error)))
        made.ClearField("data")  # not echoed: it may hold bytes
    return made


def _as_annotation_error(error: LehrError) -> LehrError:
    return InvalidAnnotation(error.details) if isinstance(error, InvalidConcept) else error


def _checked_status(code: int) -> status_pb2.Status:
    if code in GOOD:
        return status(code)
    possible = ", ".join(f"{each} ({describe(each)})" for each in sorted(GOOD))
    raise InvalidAnnotation(f"An annotation cannot have the status {code}; there are: {possible}.")


def _objection(
    annotation: resources_pb2.Annotation,
    known: Collection[str],
    taken: Collection[tuple[str, str]],
    levelled: Collection[str],
) -> str:
    input_id = annotation.input_id
    if input_id not in known:
        return f"Annotation is of input {input_id!r}, which does not exist."
    if (input_id, annotation.id) in taken:
        return f"Annotation id {annotation.id!r} already exists on input {input_id!r}; patch it, or choose another id."
    if annotation.input_level and input_id in levelled:
        return f"Input {input_id!r} has its one input-level annotation already; patch that, or patch the input."
    return ""


def _patched(tx: Connection, ref: AppRef, change: resources_pb2.Annotation, action: str) -> resources_pb2.Annotation:
    stored = _found(tx, ref, change.input_id, change.id)
    wanted = resources_pb2.Annotation(id=stored.id)
    for name in ("data", "annotation_info"):
        if change.HasField(name):
            getattr(wanted, name).CopyFrom(getattr(change, name))
    result = patched(stored, wanted, action)
    if change.status.code:
        result.status.CopyFrom(_checked_status(change.status.code))
    result.task_id = change.task_id or stored.task_id
    cleaned(result.data)
    return result


def _of_pairs(
    tx: Connection, ref: AppRef, pairs: Sequence[tuple[str, str]], filters: AnnotationFilter
) -> Iterator[resources_pb2.Annotation]:
    """Those of the pairs that exist and pass the filters, in the order in which they were asked for."""
    if len(pairs) > MAX_PER_PAGE:
        raise InvalidRequest(f"A list can be asked for at most {MAX_PER_PAGE} annotations by id; given {len(pairs)}.")
    filters = replace(filters, input_ids=tuple({one for one, _ in pairs}), ids=tuple({other for _, other in pairs}))
    page = 1
    found: dict[tuple[str, str], resources_pb2.Annotation] = {}
    while some := annotation_rows.page(tx, ref, page=page, per_page=MAX_PER_PAGE, filters=filters):
        found |= {(each.input_id, each.id): each for each in some}
        page += 1
    for pair in pairs:
        if pair in found:
            yield found[pair]


def _input_ids(annotations: Iterable[resources_pb2.Annotation]) -> list[str]:
    return list(dict.fromkeys(annotation.input_id for annotation in annotations))


def _found(tx: Connection, ref: AppRef, input_id: str, annotation_id: str) -> resources_pb2.Annotation:
    found = annotation_rows.get(tx, ref, input_id, annotation_id)
    if found is None:
        raise _missing(input_id, annotation_id)
    return found


def _missing(input_id: str, annotation_id: str) -> NotFound:
    return NotFound(f"There is no annotation {annotation_id!r} of input {input_id!r}.")
