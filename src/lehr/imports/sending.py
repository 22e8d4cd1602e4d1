"""Pictures on their way into an app: in batches, each at most once however often it is sent.

An input's id follows from its file's name, and its labels and boxes come along in the same request: a batch that was
sent before, or whose answer was lost, is told apart by its ids.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from clarifai_grpc.grpc.api import resources_pb2
from clarifai_grpc.grpc.api.status import status_code_pb2

from lehr.imports.account import Account
from lehr.imports.picture import Picture, Shape
from lehr.services.archive_inputs import id_from

BATCH = 128
BATCH_BYTES = 32 * 2**20
AT_ONCE = 2
DUPLICATE = "Input has a duplicate ID."
"""As the API says it."""
SPLIT_ID = "split"
"""Of the annotation that says which part a picture belongs to."""
_GOING_ON = (status_code_pb2.INPUT_DOWNLOAD_PENDING, status_code_pb2.INPUT_DOWNLOAD_IN_PROGRESS)
_GOOD = (status_code_pb2.INPUT_DOWNLOAD_SUCCESS, *_GOING_ON)


@dataclass
class Sent:
    """What became of the pictures."""

    new: int = 0
    present: int = 0
    failed: list[str] = field(default_factory=list)
    """Each with the server's reason."""


@dataclass(frozen=True, kw_only=True)
class Sending:
    """Into one data set of one app."""

    account: Account
    dataset_id: str
    add_job_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def send(self, pictures: Sequence[Picture], moved: Callable[[int], object]) -> Sent:
        """Sends all; `moved` is told how many more are dealt with."""
        sent = Sent()
        waiting = iter(_batches(pictures))
        with ThreadPoolExecutor(AT_ONCE) as threads:
            while some := list(islice(waiting, AT_ONCE)):
                for batch, (new, present, failed) in zip(some, threads.map(self._post, some), strict=True):
                    sent.new, sent.present = sent.new + new, sent.present + present
                    sent.failed += failed
                    moved(len(batch))
        return sent

    def _post(self, batch: Sequence[Picture]) -> tuple[int, int, list[str]]:
        inputs = [self._input(picture) for picture in batch]
        answer = self.account.ask("PostInputs", inputs=inputs, inputs_add_job_id=self.add_job_id)
        if len(answer.inputs) != len(batch):  # the request as a whole
            reason = answer.status.details or answer.status.description
            return 0, 0, [f"{picture.name}: {reason}" for picture in batch]
        new = present = 0
        failed = []
        for picture, made in zip(batch, answer.inputs, strict=True):
            if made.status.code in _GOOD:
                new += 1
            elif made.status.details == DUPLICATE:
                present += 1
            else:
                failed.append(f"{picture.name}: {made.status.details or made.status.description}")
        self._tell_splits(batch)
        return new, present, failed

    def _input(self, picture: Picture) -> Any:
        data = resources_pb2.Data(image=resources_pb2.Image(base64=picture.path.read_bytes()))
        data.concepts.extend(_concept(label) for label in picture.labels)
        data.regions.extend(_region(shape) for shape in picture.shapes)
        data.metadata.update({"filename": picture.name})
        return resources_pb2.Input(id=id_from(picture.name), dataset_ids=[self.dataset_id], data=data)

    def _tell_splits(self, batch: Sequence[Picture]) -> None:
        """An annotation of its own for each picture of a part; one that is there already is refused, which is fine."""
        notes = []
        for picture in (picture for picture in batch if picture.split):
            note = resources_pb2.Annotation(id=SPLIT_ID, input_id=id_from(picture.name))
            note.annotation_info.update({"split": picture.split})
            notes.append(note)
        if notes:
            self.account.ask("PostAnnotations", annotations=notes)

    def processed(self, moved: Callable[[int], object]) -> int:
        """Waits until the server has looked at all of them; answers how many it could not use."""
        before = 0
        while True:
            job = self.account.must("GetInputsAddJob", id=self.add_job_id).inputs_add_job.progress
            done = job.success_count + job.failed_count
            moved(done - before)
            before = done
            if not job.pending_count and not job.in_progress_count:
                return int(job.failed_count)
            time.sleep(0.2)

    def unusable(self, pictures: Sequence[Picture]) -> Iterator[str]:
        """The pictures that the server has but could not use, each with its reason."""
        names = {id_from(picture.name): picture.name for picture in pictures}
        ids = list(names)
        for start in range(0, len(ids), BATCH):
            some = ids[start : start + BATCH]
            for input_ in self.account.must("ListInputs", ids=some, per_page=BATCH).inputs:
                if input_.status.code not in _GOOD:
                    yield f"{names[input_.id]}: {input_.status.details or input_.status.description}"


def _batches(pictures: Sequence[Picture]) -> Iterator[list[Picture]]:
    batch: list[Picture] = []
    num_bytes = 0
    for picture in pictures:
        size = picture.path.stat().st_size
        if batch and (len(batch) == BATCH or num_bytes + size > BATCH_BYTES):
            yield batch
            batch, num_bytes = [], 0
        batch.append(picture)
        num_bytes += size
    if batch:
        yield batch


def concept_id(label: str) -> str:
    """A label as an id: itself, but for slashes, which no id has."""
    return " ".join(label.replace("/", "-").replace("\\", "-").split())[:128]


def _concept(label: str) -> Any:
    return resources_pb2.Concept(id=concept_id(label), name=label, value=1)


def _region(shape: Shape) -> Any:
    left, top, right, bottom = shape.box
    box = resources_pb2.BoundingBox(left_col=left, top_row=top, right_col=right, bottom_row=bottom)
    info = resources_pb2.RegionInfo(bounding_box=box)
    if len(shape.outline) >= 3:
        info.polygon.points.extend(resources_pb2.Point(row=y, col=x) for x, y in shape.outline)
    return resources_pb2.Region(region_info=info, data=resources_pb2.Data(concepts=[_concept(shape.label)]))
