"""Which inputs of an upload are let in, and under which ids. Decides; writes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from lehr.errors import InvalidAnnotation, InvalidConcept, InvalidInput, LehrError
from lehr.protocol import resources_pb2, status_code_pb2, status_pb2
from lehr.protocol.ids import MAX_LENGTH, checked_id, new_id
from lehr.protocol.statuses import status
from lehr.services.batches import refusal
from lehr.services.media import Medium, bare, medium_of
from lehr.services.regions import PARTS, cleaned
from lehr.store.inputs import Taken

DUPLICATE_ID = "Input has a duplicate ID."
"""Clients compare with exactly this."""
NUM_SUFFIXES = 9

_NOTHING = Medium(kind="", content=b"", url="", may_repeat_url=True)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One input of an upload: what its row will be, or why there will be none."""

    message: resources_pb2.Input
    medium: Medium = _NOTHING
    parts: Sequence[resources_pb2.Data] = ()
    """What was said of regions, frames and so on: annotations of their own."""
    error: LehrError | None = None

    @property
    def is_admitted(self) -> bool:
        """Whether nothing speaks against it so far."""
        return self.error is None

    def refused(self, error: LehrError) -> Candidate:
        """The same, refused."""
        return replace(self, error=error)


def read(order: resources_pb2.Input) -> Candidate:
    """Looks at one input by itself."""
    message = resources_pb2.Input(id=order.id or new_id(), dataset_ids=order.dataset_ids)
    try:
        checked_id(message.id, "Input", refuse=InvalidInput)
        medium = medium_of(order.data)
        message.data.CopyFrom(bare(order.data, medium))
        _check_labels(message.data)
        parts = _parts(order.data)
    except LehrError as error:
        # Whatever is wrong with it, it is an input that is wrong.
        is_input = not isinstance(error, InvalidConcept | InvalidAnnotation)
        return Candidate(message=message, error=error if is_input else InvalidInput(error.details))
    return Candidate(message=message, medium=medium, parts=parts)


def _check_labels(data: resources_pb2.Data) -> None:
    labels = resources_pb2.Data(concepts=data.concepts)
    cleaned(labels)
    del data.concepts[:]
    data.concepts.extend(labels.concepts)


def _parts(data: resources_pb2.Data) -> list[resources_pb2.Data]:
    parts = []
    for name in PARTS:
        for entry in getattr(data, name):
            part = resources_pb2.Data()
            getattr(part, name).append(entry)
            cleaned(part)
            parts.append(part)
    return parts


def ids_to_ask(candidates: Iterable[Candidate], *, with_suffixes: bool) -> list[str]:
    """The ids whose being taken decides the admission."""
    asked = []
    for candidate in candidates:
        asked.append(candidate.message.id)
        if with_suffixes:
            asked += _suffixed(candidate.message.id)
    return asked


def _suffixed(input_id: str) -> list[str]:
    return [f"{input_id[: MAX_LENGTH - 2]}-{number}" for number in range(1, NUM_SUFFIXES + 1)]


def without_duplicates(candidates: Sequence[Candidate], taken: Taken, *, with_suffixes: bool) -> list[Candidate]:
    """Refuses ids and URLs that the app or an earlier input of the upload has; or finds another id for the former."""
    ids, urls, admitted = set(taken.ids), set(taken.urls), []
    in_upload: set[str] = set()
    for candidate in candidates:
        if candidate.is_admitted:
            own_id = candidate.message.id
            candidate = _unlike(candidate, ids, urls, in_upload, with_suffixes)  # noqa: PLW2901
            in_upload.add(own_id)
        if candidate.is_admitted:
            ids.add(candidate.message.id)
            urls.add(candidate.medium.url)
        admitted.append(candidate)
    return admitted


def _unlike(
    candidate: Candidate, ids: Collection[str], urls: Collection[str], in_upload: Collection[str], with_suffixes: bool
) -> Candidate:
    message, medium = candidate.message, candidate.medium
    if message.id in in_upload or (message.id in ids and not with_suffixes):
        return candidate.refused(_duplicate(DUPLICATE_ID))
    if medium.url and medium.url in urls and not medium.may_repeat_url:
        return candidate.refused(
            _duplicate("Input has a duplicate URL. Set allow_duplicate_url to have the same one twice.")
        )
    if message.id in ids:
        free = [other for other in _suffixed(message.id) if other not in ids]
        message.id = free[0] if free else f"{message.id[: MAX_LENGTH - 9]}-{new_id()[:8]}"
    return candidate


def _duplicate(sentence: str) -> InvalidInput:
    error = InvalidInput(sentence, code=status_code_pb2.INPUT_DUPLICATE)
    error.http_status = 409
    return error


def in_known_datasets(candidates: Iterable[Candidate], known: Collection[str]) -> list[Candidate]:
    """Refuses inputs that are to go into a data set that is not there."""
    judged = []
    for candidate in candidates:
        unknown = [dataset_id for dataset_id in candidate.message.dataset_ids if dataset_id not in known]
        if candidate.is_admitted and unknown:
            candidate = candidate.refused(  # noqa: PLW2901
                InvalidInput(f"Input is to go into dataset {unknown[0]!r}, which does not exist; make it first.")
            )
        judged.append(candidate)
    return judged


def first_status(candidate: Candidate) -> status_pb2.Status:
    """The status an input begins with."""
    if candidate.error is not None:
        return refusal(candidate.error)
    kind = candidate.medium.kind
    if kind == "audio":
        sentence = "The audio is kept, but audio is not processed: Lehr learns from images and videos."
        return status(status_code_pb2.INPUT_UNSUPPORTED_FORMAT, sentence)
    if kind == "text" and not candidate.medium.url:
        return status(status_code_pb2.INPUT_DOWNLOAD_SUCCESS)
    return status(status_code_pb2.INPUT_DOWNLOAD_PENDING)
