"""Passes on what it is given; the workflow's run also keeps it as annotations of the input (annotation_writing.py)."""

from __future__ import annotations

from lehr.protocol import status_code_pb2
from lehr.services.operators.item import Item, Scene
from lehr.services.operators.operator import Operator, Parameter, Settings

STATUSES = (
    "ANNOTATION_SUCCESS",
    "ANNOTATION_PENDING",
    "ANNOTATION_AWAITING_REVIEW",
    "ANNOTATION_AWAITING_CONSENSUS_REVIEW",
    "ANNOTATION_REVIEW_DENIED",
)


def run(item: Item, scene: Scene, settings: Settings) -> Item:
    """The item itself."""
    return item


OPERATOR = Operator(
    model_type_id="annotation-writer",
    title="Annotation Writer",
    description="Keeps what it is given as annotations of the input, with a status of your choice.",
    input_fields=("concepts", "regions"),
    output_fields=("concepts", "regions"),
    parameters=(
        Parameter(
            name="annotation_status",
            kind="enum",
            default="ANNOTATION_PENDING",
            options={name: status_code_pb2.StatusCode.Value(name) for name in STATUSES},
            sentence="The status of what is written: only ANNOTATION_SUCCESS counts as a label to train on.",
        ),
        Parameter(
            name="annotation_user_ids",
            kind="texts",
            default=(),
            sentence="Written as if these people had said it; none: as said by the model.",
        ),
    ),
    run=run,
)
