"""What a bulk operation does to one batch of inputs or annotations, in the caller's transaction.

Every change made twice is the same as once, but that it is never made twice: how far an operation is and what it
changed are one transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from lehr.errors import InvalidInput
from lehr.protocol import resources_pb2, struct_pb2
from lehr.protocol.ids import AppRef
from lehr.services.concepts import ensure_concepts
from lehr.services.labels import tell_annotations, tell_inputs
from lehr.services.media import MAX_ROW_BYTES
from lehr.services.regions import PARTS
from lehr.store import annotations as annotation_rows
from lehr.store import datasets as dataset_rows
from lehr.store import finding
from lehr.store import inputs as input_rows


@dataclass(frozen=True, kw_only=True)
class Change:
    """One operation, ready to be applied."""

    ref: AppRef
    user_id: str
    operation: resources_pb2.Operation
    splits: Mapping[int, str] = field(default_factory=dict)
    """Key of an input → the data set it goes into, where the operation splits."""

    def apply(self, tx: Connection, keys: Sequence[int]) -> list[str]:
        """Changes the rows of these keys; answers the ids of the inputs or annotations that are still there."""
        kind = self.operation.WhichOneof("operation") or self.operation.WhichOneof("annotation_operation")
        if kind == "delete_annotations":
            return self._delete_annotations(tx, keys)
        found = finding.inputs_by_key(tx, keys)
        inputs = {key: found[key] for key in keys if key in found}
        getattr(self, f"_{kind}")(tx, inputs)
        return [message.id for message in inputs.values()]

    # -- concepts --------------------------------------------------------------------------------------------------

    def _add_concepts(self, tx: Connection, inputs: Mapping[int, resources_pb2.Input]) -> None:
        given = list(self.operation.add_concepts.concepts)
        ensure_concepts(tx, self.ref, given)
        for message in inputs.values():
            kept = [concept for concept in message.data.concepts if concept.id not in {each.id for each in given}]
            del message.data.concepts[:]
            message.data.concepts.extend([*kept, *given])
        self._write(tx, inputs.values())
        tell_annotations(tx, self.ref, self.user_id, list(inputs.values()))

    def _delete_concepts(self, tx: Connection, inputs: Mapping[int, resources_pb2.Input]) -> None:
        order = self.operation.delete_concepts
        unwanted = {concept.id or concept.name for concept in order.concepts}
        authors = set(order.user_ids) or {self.user_id}
        ids = [message.id for message in inputs.values()]
        for notes in annotation_rows.of_inputs(tx, self.ref, ids).values():
            for note in notes:
                if note.user_id in authors and _without(note.data, unwanted):
                    self._put_or_drop(tx, note)
        tell_inputs(tx, self.ref, ids)

    def _put_or_drop(self, tx: Connection, note: resources_pb2.Annotation) -> None:
        """An annotation that says nothing any more goes, but for the input's own."""
        if note.data.ListFields() or note.input_level:
            annotation_rows.update(tx, self.ref, [note])
        else:
            annotation_rows.delete(tx, self.ref, input_ids=[note.input_id], ids=[note.id])

    # -- metadata and place ----------------------------------------------------------------------------------------

    def _add_metadata(self, tx: Connection, inputs: Mapping[int, resources_pb2.Input]) -> None:
        for message in inputs.values():
            for name, value in self.operation.add_metadata.metadata.fields.items():
                message.data.metadata.fields[name].CopyFrom(value)
        self._write(tx, inputs.values())

    def _delete_metadata(self, tx: Connection, inputs: Mapping[int, resources_pb2.Input]) -> None:
        for message in inputs.values():
            _subtract(message.data.metadata, self.operation.delete_metadata.metadata)
        self._write(tx, inputs.values())

    def _overwrite_geo(self, tx: Connection, inputs: Mapping[int, resources_pb2.Input]) -> None:
        for message in inputs.values():
            message.data.geo.CopyFrom(self.operation.overwrite_geo.geo)
        self._write(tx, inputs.values())

    def _delete_geo(self, tx: Connection, inputs: Mapping[int, resources_pb2.Input]) -> None:
        for message in inputs.values():
            message.data.ClearField("geo")
        self._write(tx, inputs.values())

    def _write(self, tx: Connection, messages: Iterable[resources_pb2.Input]) -> None:
        for message in messages:
            if message.data.ByteSize() > MAX_ROW_BYTES:
                raise InvalidInput(
                    f"Input {message.id!r} would hold {message.data.ByteSize():,} bytes of metadata and concepts; at "
                    f"most {MAX_ROW_BYTES:,}."
                )
            input_rows.update(tx, self.ref, [message])

    # -- data sets -------------------------------------------------------------------------------------------------

    def _add_to_dataset(self, tx: Connection, inputs: Mapping[int, resources_pb2.Input]) -> None:
        ids = [message.id for message in inputs.values()]
        dataset_rows.add_inputs(tx, self.ref, self.operation.add_to_dataset.dataset_id, ids)

    def _delete_from_dataset(self, tx: Connection, inputs: Mapping[int, resources_pb2.Input]) -> None:
        ids = [message.id for message in inputs.values()]
        dataset_rows.remove_inputs(tx, self.ref, self.operation.delete_from_dataset.dataset_id, ids)

    def _split_into_datasets(self, tx: Connection, inputs: Mapping[int, resources_pb2.Input]) -> None:
        for dataset_id in sorted(set(self.splits.values())):
            ids = [message.id for key, message in inputs.items() if self.splits.get(key) == dataset_id]
            dataset_rows.add_inputs(tx, self.ref, dataset_id, ids)

    # -- annotations -----------------------------------------------------------------------------------------------

    def _delete_annotations(self, tx: Connection, keys: Sequence[int]) -> list[str]:
        notes = [each.message for each in finding.annotations_by_key(tx, keys).values()]
        for note in notes:
            annotation_rows.delete(tx, self.ref, input_ids=[note.input_id], ids=[note.id])
        tell_inputs(tx, self.ref, list(dict.fromkeys(note.input_id for note in notes)))
        return [note.id for note in notes]


def split(operation_id: str, order: resources_pb2.SplitIntoDatasets, keys: Sequence[int]) -> dict[int, str]:
    """Key → data set: a random order that follows from the operation's id, cut by the percentages to the input."""
    shuffled = sorted(keys, key=lambda key: hashlib.sha256(f"{operation_id}/{key}".encode()).digest())
    made: dict[int, str] = {}
    percent = 0
    for part in order.dataset_splits:
        start, percent = len(keys) * percent // 100, percent + part.percentage
        made |= {key: part.dataset.id for key in shuffled[start : len(keys) * percent // 100]}
    return made


def _without(data: resources_pb2.Data, unwanted: set[str]) -> bool:
    """Takes concepts out at whatever depth; whether there were any."""
    kept = [concept for concept in data.concepts if concept.id not in unwanted and concept.name not in unwanted]
    changed = len(kept) < len(data.concepts)
    if changed:
        del data.concepts[:]
        data.concepts.extend(kept)
    for part in PARTS:
        for entry in getattr(data, part):
            changed = _without(entry.data, unwanted) or changed
    return changed


def _subtract(stored: struct_pb2.Struct, unwanted: struct_pb2.Struct) -> None:
    """Takes out what has both the key and the value; of values with keys of their own, what matches in them."""
    for name, value in unwanted.fields.items():
        if name not in stored.fields:
            continue
        mine = stored.fields[name]
        if mine == value:
            del stored.fields[name]
        elif mine.HasField("struct_value") and value.HasField("struct_value"):
            _subtract(mine.struct_value, value.struct_value)
