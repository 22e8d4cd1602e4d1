"""What an annotation-writer writes: the findings of a workflow as annotations of the input, the same however often."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from lehr.errors import InvalidWorkflow
from lehr.protocol import resources_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.statuses import status
from lehr.services.concepts import ensure_concepts
from lehr.services.operators import Settings
from lehr.services.regions import cleaned, labels_in
from lehr.store import annotations as annotation_rows
from lehr.store import inputs as input_rows
from lehr.store.db import Database


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a node was given to write."""

    workflow: resources_pb2.Workflow
    """With the version that ran."""
    node_id: str
    model: resources_pb2.Model
    """The annotation-writer, with its version."""
    settings: Settings
    data: resources_pb2.Data


@dataclass(frozen=True, kw_only=True)
class AnnotationWriting:
    """Needs only the store."""

    db: Database

    def write(self, ref: AppRef, input_id: str, said: Said) -> int:
        """Writes one annotation per region, one for the whole, frame by frame of a video; answers how many.

        They take the place of what this node wrote of this input before. An input that the app does not have is passed
        over: there is nothing to annotate. Raises InvalidWorkflow for writers that may not write here.
        """
        people = list(said.settings.values["annotation_user_ids"]) or [""]
        strangers = [user_id for user_id in people if user_id not in ("", ref.user_id)]
        if strangers:
            raise InvalidWorkflow(
                f"Node {said.node_id!r}: annotation_user_ids names {', '.join(map(repr, strangers))}; only "
                f"{ref.user_id!r}, who owns the app, can be named."
            )
        made = [_annotation(ref, input_id, said, user_id) for user_id in people]
        prefix = _prefix(said, input_id)
        parts = [one for user in made for one in _parted(user, said.data)]
        for number, annotation in enumerate(parts):
            annotation.id = f"{prefix}{number:08x}"
            cleaned(annotation.data)
        with self.db.write() as tx:
            input_rows.lock(tx, ref)
            if not input_rows.get_many(tx, ref, [input_id]):
                return 0
            _forget(tx, ref, input_id, prefix)
            ensure_concepts(tx, ref, [label for each in parts for label in labels_in(each.data)])
            annotation_rows.insert(tx, ref, parts)
        return len(parts)


def _forget(tx: Connection, ref: AppRef, input_id: str, prefix: str) -> None:
    before = annotation_rows.of_inputs(tx, ref, [input_id])[input_id]
    mine = [each.id for each in before if each.id.startswith(prefix)]
    annotation_rows.delete(tx, ref, input_ids=[input_id], ids=mine) if mine else None


def _prefix(said: Said, input_id: str) -> str:
    """Begins the ids of all that this node of this workflow says of this input, whichever version runs."""
    named = "\0".join((said.workflow.user_id, said.workflow.app_id, said.workflow.id, said.node_id, input_id))
    return hashlib.blake2b(named.encode(), digest_size=12).hexdigest()


def _annotation(ref: AppRef, input_id: str, said: Said, user_id: str) -> resources_pb2.Annotation:
    made = resources_pb2.Annotation(input_id=input_id, user_id=user_id or ref.user_id, trusted=bool(user_id))
    made.status.CopyFrom(status(status_code_pb2.StatusCode.Value(said.settings.values["annotation_status"])))
    if user_id:
        made.worker.user.id = user_id
        return made
    made.model_version_id = said.model.model_version.id
    workflow = made.worker.workflow
    workflow.id, workflow.user_id, workflow.app_id = said.workflow.id, said.workflow.user_id, said.workflow.app_id
    workflow.version.id = said.workflow.version.id
    return made


def _parted(like: resources_pb2.Annotation, data: resources_pb2.Data) -> Iterator[resources_pb2.Annotation]:
    """One annotation per thing said: of the whole picture, of each region, of each frame so too."""
    for part in _parts(data):
        yield _saying(like, part)
    for frame in data.frames:
        for part in _parts(frame.data):
            of_frame = resources_pb2.Data()
            of_frame.frames.add(frame_info=frame.frame_info, data=part)
            yield _saying(like, of_frame)


def _parts(data: resources_pb2.Data) -> Iterator[resources_pb2.Data]:
    if data.concepts:
        yield resources_pb2.Data(concepts=data.concepts)
    for region in data.regions:
        kept = resources_pb2.Region(id=region.id, region_info=region.region_info, value=region.value)
        kept.data.concepts.extend(region.data.concepts)
        yield resources_pb2.Data(regions=[kept])


def _saying(like: resources_pb2.Annotation, data: resources_pb2.Data) -> resources_pb2.Annotation:
    made = resources_pb2.Annotation()
    made.CopyFrom(like)
    made.data.CopyFrom(data)
    return made
