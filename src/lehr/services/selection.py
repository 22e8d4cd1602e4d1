"""Which items a `train_search` or `test_search` of an older client selects.

Only filters that decide about one item by itself are answered: concepts, annotation info, dataset, input metadata and
their negations. Anything else (ranks, geo, …) is refused when the training is asked for, never ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from google.protobuf.message import Message

from lehr.errors import InvalidSearch
from lehr.protocol import resources_pb2
from lehr.protocol.structs import from_struct
from lehr.store.items import Item

READ_OF_ANNOTATION = {"data", "annotation_info"}
READ_OF_INPUT = {"data", "id", "dataset_ids"}
READ_OF_DATA = {"concepts", "metadata"}


def checked_search(search: resources_pb2.Search, name: str) -> None:
    """Raises InvalidSearch naming the first part of the search that cannot be answered."""
    query = search.query
    if query.ranks:
        raise InvalidSearch(f"{name}: a selection of training items has filters, no ranks.")
    for filter_ in _filters(search):
        _only(filter_.annotation, READ_OF_ANNOTATION, f"{name}.filter.annotation")
        _only(filter_.annotation.data, READ_OF_DATA - {"metadata"}, f"{name}.filter.annotation.data")
        _only(filter_.input, READ_OF_INPUT, f"{name}.filter.input")
        _only(filter_.input.data, READ_OF_DATA, f"{name}.filter.input.data")
        if filter_.HasField("last_updated_time_range"):
            raise InvalidSearch(f"{name}: filtering by time is not offered for training items.")


def selects(search: resources_pb2.Search, item: Item, dataset_ids: Sequence[str] = ()) -> bool:
    """Whether the item passes every filter of the search; a search without filters selects everything."""
    return all(_passes(filter_, item, dataset_ids) for filter_ in _filters(search))


def _filters(search: resources_pb2.Search) -> list[resources_pb2.Filter]:
    ands = [
        resources_pb2.Filter(annotation=resources_pb2.Annotation(data=and_.input.data), negate=and_.negate)
        if and_.HasField("input")
        else resources_pb2.Filter(annotation=resources_pb2.Annotation(data=and_.output.data), negate=and_.negate)
        for and_ in search.query.ands
    ]
    return [*search.query.filters, *ands]


def _passes(filter_: resources_pb2.Filter, item: Item, dataset_ids: Sequence[str]) -> bool:
    matches = _input_matches(filter_.input, item, dataset_ids) and _annotations_match(filter_.annotation, item)
    return matches != filter_.negate


def _input_matches(wanted: resources_pb2.Input, item: Item, dataset_ids: Sequence[str]) -> bool:
    if wanted.id and wanted.id != item.input_id:
        return False
    if wanted.dataset_ids and not set(wanted.dataset_ids) & set(dataset_ids):
        return False
    if wanted.data.HasField("metadata"):
        have, want = from_struct(item.input.data.metadata), from_struct(wanted.data.metadata)
        if not any(_contains(have.get(name), value) for name, value in want.items()):
            return False
    return _has_concepts(wanted.data.concepts, item.annotations)


def _annotations_match(wanted: resources_pb2.Annotation, item: Item) -> bool:
    """One and the same annotation must have all that is asked."""
    if not wanted.data.concepts and not wanted.HasField("annotation_info"):
        return True
    info = from_struct(wanted.annotation_info)
    return any(
        _contains(from_struct(have.annotation_info), info) and _has_concepts(wanted.data.concepts, [have])
        for have in item.annotations
    )


def _has_concepts(wanted: Sequence[resources_pb2.Concept], annotations: Iterable[resources_pb2.Annotation]) -> bool:
    """Concepts inside one filter are OR-ed; none asks for nothing."""
    have = {(concept.id, concept.value >= 0.5) for annotation in annotations for concept in annotation.data.concepts}
    return not wanted or any((concept.id or concept.name, concept.value >= 0.5) in have for concept in wanted)


def _contains(have: object, want: object) -> bool:
    """Whether every field of `want` is in `have`, with an equal value."""
    if isinstance(want, Mapping):
        return isinstance(have, Mapping) and all(_contains(have.get(name), value) for name, value in want.items())
    return have == want


def _only(message: Message, known: set[str], where: str) -> None:
    for field, _ in message.ListFields():
        if field.name not in known:
            raise InvalidSearch(
                f"{where}.{field.name} cannot select training items; there are: {', '.join(sorted(known))}."
            )
