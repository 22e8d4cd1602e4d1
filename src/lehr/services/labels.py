"""Keeps an input's own concepts in step with its input-level annotation.

They are kept twice: in the input's row, where listings read them, and as that annotation, where training reads them.
Call the functions here in the transaction that changes either.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef, new_id
from lehr.protocol.statuses import status
from lehr.store import annotations as annotation_rows
from lehr.store import inputs as input_rows


def new_annotation(input_id: str, user_id: str, data: resources_pb2.Data) -> resources_pb2.Annotation:
    """An annotation by a person."""
    return resources_pb2.Annotation(
        id=new_id(),
        input_id=input_id,
        data=data,
        user_id=user_id,
        worker=resources_pb2.Worker(user=resources_pb2.User(id=user_id)),
        trusted=True,
        status=status(status_code_pb2.ANNOTATION_SUCCESS),
    )


def input_level(input_: resources_pb2.Input, user_id: str) -> resources_pb2.Annotation:
    """The annotation that says of the whole input what its concepts say."""
    made = new_annotation(input_.id, user_id, resources_pb2.Data(concepts=input_.data.concepts))
    made.input_level = True
    return made


def tell_annotations(tx: Connection, ref: AppRef, user_id: str, inputs: Sequence[resources_pb2.Input]) -> None:
    """After inputs changed: their input-level annotations say the same."""
    present = annotation_rows.of_inputs(tx, ref, [input_.id for input_ in inputs])
    for input_ in inputs:
        own = _own(present[input_.id])
        if own is None and input_.data.concepts:
            annotation_rows.insert(tx, ref, [input_level(input_, user_id)])
        elif own is not None and list(own.data.concepts) != list(input_.data.concepts):
            _say(own.data, input_.data.concepts)
            annotation_rows.update(tx, ref, [own])


def tell_inputs(tx: Connection, ref: AppRef, input_ids: Sequence[str]) -> None:
    """After annotations changed or went: the inputs' rows say what the input-level annotations say."""
    present = annotation_rows.of_inputs(tx, ref, input_ids)
    changed = []
    for input_ in input_rows.get_many(tx, ref, input_ids).values():
        own = _own(present[input_.id])
        said = list(own.data.concepts) if own is not None else []
        if said != list(input_.data.concepts):
            _say(input_.data, said)
            changed.append(input_)
    input_rows.update(tx, ref, changed)


def _own(annotations: Sequence[resources_pb2.Annotation]) -> resources_pb2.Annotation | None:
    return next((annotation for annotation in annotations if annotation.input_level), None)


def _say(data: resources_pb2.Data, concepts: Sequence[resources_pb2.Concept]) -> None:
    del data.concepts[:]
    data.concepts.extend(concepts)
