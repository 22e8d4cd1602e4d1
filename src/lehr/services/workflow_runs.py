"""Running a workflow: every picture of a request through every node, a batch at a time; of a video, its frames."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from threading import BoundedSemaphore

import numpy as np
from sqlalchemy import Connection

from lehr.errors import Busy, InvalidPrediction, LehrError, MissingScope, TooLarge, WorkflowNotFound
from lehr.learn.data.video import VideoFrame
from lehr.protocol import resources_pb2, service_pb2, status_code_pb2, status_pb2
from lehr.protocol.ids import AppRef, checked_id, new_id
from lehr.protocol.rpcs import RPCS, missing_scopes
from lehr.protocol.statuses import status
from lehr.services.annotation_writing import AnnotationWriting, Said
from lehr.services.base_workflow import workflow_of
from lehr.services.films import MAX_FRAMES, info_of
from lehr.services.node_stages import NodeStages, Placed
from lehr.services.operators import Item
from lehr.services.pictures import Pictures
from lehr.services.telling import shown_model
from lehr.services.workflow_graph import steps_of
from lehr.services.workflow_items import Picture, given_item, merged, shown
from lehr.services.workflow_nodes import checked_nodes
from lehr.services.workflow_stages import OperatorStage
from lehr.services.workflows import found_version, found_workflow
from lehr.store import apps as app_rows
from lehr.store import collaborators, labelled
from lehr.store.db import Database
from lehr.store.times import now

MAX_INPUTS = 128
WRITER = "annotation-writer"
Outcome = list[resources_pb2.Data] | LehrError
"""What each node gave for one input, or why there is nothing."""
Seen = Picture | LehrError | None
"""A picture, what is wrong with it, or None for a video."""
AT_ONCE = 4
"""Pictures in full size that are decoded together."""
GROUP_BYTES = 128 * 2**20
"""Of pixels: a picture more than that, and the nodes run."""
FULL_SIZE_RUNS = 3
"""That hold pictures in full size at the same time; the next ones wait."""
PATIENCE_SECONDS = 60.0
BEGIN_STATE = "init"
"""Sent as the id of a `workflow_state`, it asks for a new one."""


@dataclass(frozen=True, kw_only=True)
class WorkflowRuns:
    """Needs the store, ready models, and a place for annotations."""

    db: Database
    nodes: NodeStages
    writing: AnnotationWriting
    _places: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(FULL_SIZE_RUNS))

    @contextmanager
    def place(self) -> Iterator[None]:
        """Room for pictures in full size. Raises Busy when there is none for long."""
        if not self._places.acquire(timeout=PATIENCE_SECONDS):
            raise Busy("Too many workflows look at pictures in full size right now. Try again in a moment.")
        try:
            yield
        finally:
            self._places.release()

    @cached_property
    def pictures(self) -> Pictures:
        """Reads what inputs show."""
        return self.nodes.predict.pictures

    def results(
        self, ref: AppRef, request: service_pb2.PostWorkflowResultsRequest, *, may_write: bool = True
    ) -> service_pb2.PostWorkflowResultsResponse:
        """One result per input, in order, with one output per node that is not suppressed.

        An input that fails has its own status and does not fail the others. Raises InvalidPrediction, WorkflowNotFound,
        or what keeps a node from running, with its name. `may_write`: whether the key may add annotations.
        """
        if not 1 <= len(request.inputs) <= MAX_INPUTS:
            raise InvalidPrediction(f"A request carries 1 to {MAX_INPUTS} inputs; this one has {len(request.inputs)}.")
        state_id = _state_id(request.workflow_state)
        workflow = self._workflow(ref, request)
        steps = steps_of(workflow.version.nodes)
        if not may_write and any(step.node.model.model_type_id == WRITER for step in steps):
            raise MissingScope("This workflow writes annotations, which needs the scope Annotations_Add in this app.")
        placed = self.nodes.placed(ref, steps, request.output_config)
        run = _Run(ref=ref, placed=placed, runs=self, sample_ms=self._sample_ms(ref, request))
        outcomes = run.outcomes(request.inputs)
        answer = service_pb2.PostWorkflowResultsResponse(workflow=workflow)
        for item, outcome in zip(request.inputs, outcomes, strict=True):
            if not isinstance(outcome, LehrError):
                self._write(ref, workflow, placed, item, outcome)
            answer.results.append(_result(item, placed, outcome))
        if state_id:
            answer.workflow_state.id = state_id
        answer.status.CopyFrom(overall(answer.results))
        return answer

    def may_annotate(self, ref: AppRef, user_id: str, scopes: Collection[str]) -> bool:
        """Whether a user with a key of these scopes may add annotations to the app: its owner, or a collaborator."""
        rpc = RPCS["PostAnnotations"]
        if missing_scopes(rpc, scopes) or ref.user_id == user_id:
            return not missing_scopes(rpc, scopes)
        with self.db.read() as tx:
            found = collaborators.get(tx, ref, user_id)
        return found is not None and not missing_scopes(rpc, [*found.scopes, *found.endpoints])

    def of_node(
        self,
        ref: AppRef,
        node: resources_pb2.WorkflowNode,
        inputs: Sequence[resources_pb2.Input],
        config: resources_pb2.OutputConfig,
    ) -> list[resources_pb2.WorkflowResult]:
        """One result per input of a workflow that has only this node. Raises as `results` does."""
        if not 1 <= len(inputs) <= MAX_INPUTS:
            raise InvalidPrediction(f"A request carries 1 to {MAX_INPUTS} inputs; this one has {len(inputs)}.")
        with self.db.read() as tx:
            steps = steps_of(checked_nodes(tx, ref, [node]))
        request = service_pb2.PostWorkflowResultsRequest(output_config=config)
        run = _Run(
            ref=ref, placed=self.nodes.placed(ref, steps, config), runs=self, sample_ms=self._sample_ms(ref, request)
        )
        return [_result(item, run.placed, found) for item, found in zip(inputs, run.outcomes(inputs), strict=True)]

    def _workflow(self, ref: AppRef, request: service_pb2.PostWorkflowResultsRequest) -> resources_pb2.Workflow:
        """The workflow named, or the app's default one; with the version to run."""
        with self.db.read() as tx:
            if request.workflow_id:
                owner, workflow = found_workflow(tx, ref, request.workflow_id)
            else:
                app = app_rows.get(tx, ref)
                default = workflow_of(tx, ref, app) if app else None
                if default is None:
                    raise WorkflowNotFound(f"App {ref.app_id!r} has no default workflow: name one, or set it.")
                owner, workflow = default
            if not workflow.version.nodes:
                workflow.version.nodes.extend(workflow.nodes)
            if request.version_id:
                workflow.version.CopyFrom(found_version(tx, owner, workflow.id, request.version_id))
            if not all(node.model.model_type_id for node in workflow.version.nodes):
                _pin(tx, owner, workflow.version)
        if not workflow.version.nodes:
            raise InvalidPrediction(f"Workflow {workflow.id!r} has no nodes: there is nothing to run.")
        return workflow

    def _sample_ms(self, ref: AppRef, request: service_pb2.PostWorkflowResultsRequest) -> int:
        asked = resources_pb2.Model()
        asked.output_info.output_config.sample_ms = request.output_config.sample_ms
        return self.nodes.predict.sample_ms(ref, asked, resources_pb2.Model())

    def _write(
        self,
        ref: AppRef,
        workflow: resources_pb2.Workflow,
        placed: Sequence[Placed],
        item: resources_pb2.Input,
        outcome: Sequence[resources_pb2.Data],
    ) -> None:
        for one, data in zip(placed, outcome, strict=True):
            if isinstance(one.stage, OperatorStage) and one.stage.operator.model_type_id == WRITER and item.id:
                said = Said(
                    workflow=workflow, node_id=one.step.node.id, model=one.model, settings=one.stage.settings, data=data
                )
                self.writing.write(ref, item.id, said)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One request's way through the graph."""

    ref: AppRef
    placed: Sequence[Placed]
    runs: WorkflowRuns
    sample_ms: int

    def outcomes(self, inputs: Sequence[resources_pb2.Input]) -> list[Outcome]:
        """Images together, as many as fit into memory, videos one by one, in the order of the inputs. Raises Busy."""
        deadline = time.monotonic() + self.runs.nodes.predict.video_seconds
        with self.runs.place() if None in self._sizes else nullcontext():
            return [outcome for group in self._groups(inputs) for outcome in self._of_group(group, deadline)]

    def _groups(self, inputs: Sequence[resources_pb2.Input]) -> Iterator[list[tuple[resources_pb2.Input, Seen]]]:
        """Inputs that are held at once: a few pictures in full size may be a gigabyte."""
        group: list[tuple[resources_pb2.Input, Seen]] = []
        step = AT_ONCE if None in self._sizes else MAX_INPUTS
        for start in range(0, len(inputs), step):
            some = inputs[start : start + step]
            group += zip(some, self.runs.nodes.predict.threads.map(self._seen, some), strict=True)
            if sum(one.num_bytes for _, one in group if isinstance(one, Picture)) > GROUP_BYTES:
                yield group
                group = []
        if group:
            yield group

    def _of_group(self, group: Sequence[tuple[resources_pb2.Input, Seen]], deadline: float) -> list[Outcome]:
        told = iter(self._through([one for _, one in group if isinstance(one, Picture)]))
        found: list[Outcome] = []
        for item, one in group:
            if one is None:
                found.append(self._film(item, deadline))
            else:
                found.append([shown(node) for node in next(told)] if isinstance(one, Picture) else one)
        return found

    def _seen(self, item: resources_pb2.Input) -> Seen:
        """A picture, decoded in every size that a node looks at; None for a video."""
        pictures = self.runs.pictures
        try:
            if pictures.kind(self.ref, item) == "video":
                return None
            content = pictures.content(self.ref, item)
            picture = self._picture(lambda side: pictures.decoders.decode(content, shorter_side=side).pixels, item.data)
            for side in self._sizes:
                picture.at(side)
        except Busy:
            raise
        except LehrError as error:
            return error
        return picture

    @cached_property
    def _sizes(self) -> frozenset[int | None]:
        return frozenset(size for one in self.placed for size in one.stage.sizes)

    def _picture(self, decode: object, data: resources_pb2.Data) -> Picture:
        return Picture(decode=decode, given=given_item(data), find_synonyms=self._synonyms)  # type: ignore[arg-type]

    @cached_property
    def _synonyms(self) -> object:
        @lru_cache(maxsize=16)
        def found(graph_id: str) -> dict[str, tuple[resources_pb2.Concept, ...]]:
            with self.runs.db.read() as tx:
                related = labelled.related(tx, self.ref, "synonym", graph_id)
            return {name: tuple(concepts) for name, concepts in related.items()}

        return found

    def _through(self, pictures: Sequence[Picture]) -> list[list[Item]]:
        """For each picture, what each node gives, in the order of the nodes."""
        given: dict[str, list[Item]] = {}
        for one in self.placed:
            before = [given[name] for name in one.step.inputs] or [[picture.given for picture in pictures]]
            items = [merged(parts) for parts in zip(*before, strict=True)]
            given[one.step.node.id] = one.stage.run(items, pictures) if pictures else []
        return [[given[one.step.node.id][index] for one in self.placed] for index in range(len(pictures))]

    def _film(self, item: resources_pb2.Input, deadline: float) -> Outcome:
        """What each node gives, frame by frame; frames without anything are left out."""
        found = [resources_pb2.Data() for _ in self.placed]
        size = None if None in self._sizes else max((side for side in self._sizes if side), default=None)
        parts = self.runs.pictures.frames(
            self.ref, item, sample_ms=self.sample_ms, shorter_side=size, max_frames=MAX_FRAMES
        )
        try:
            with closing(parts):
                for part in parts:
                    self._frames(part, found)
                    if time.monotonic() > deadline:
                        raise TooLarge(
                            f"The video takes too long: {part[-1].index + 1:,} frames were done and it was not at its "
                            "end. Raise sample_ms, or send it in parts."
                        )
        except Busy:
            raise
        except LehrError as error:
            return error
        return found

    def _frames(self, part: Sequence[VideoFrame], found: Sequence[resources_pb2.Data]) -> None:
        pictures = [self._picture(partial(_same, frame.pixels), resources_pb2.Data()) for frame in part]
        for frame, given in zip(part, self._through(pictures), strict=True):
            for data, item in zip(found, given, strict=True):
                told = shown(item)
                if told.ListFields():
                    data.frames.add(frame_info=info_of(frame), data=told)


def _pin(tx: Connection, owner: AppRef, version: resources_pb2.WorkflowVersion) -> None:
    """A base workflow names models as its client did: whichever version is the newest is meant."""
    nodes = checked_nodes(tx, owner, version.nodes)
    del version.nodes[:]
    version.nodes.extend(nodes)


def _state_id(asked: resources_pb2.WorkflowState) -> str:
    """The state's id for the answer, "" where none is wanted. No kind of node keeps anything between two requests, so
    the id is all there is of a state, and it never expires. Raises InvalidPrediction."""
    if not asked.id:
        return ""
    return new_id() if asked.id == BEGIN_STATE else checked_id(asked.id, "Workflow state", refuse=InvalidPrediction)


def _same(pixels: np.ndarray, shorter_side: int | None) -> np.ndarray:
    """A frame comes in one size, which every node makes its own of."""
    return pixels


def _result(item: resources_pb2.Input, placed: Sequence[Placed], outcome: Outcome) -> resources_pb2.WorkflowResult:
    result = resources_pb2.WorkflowResult(id=new_id(), created_at=now())
    result.input.id = item.id or new_id()
    for name in ("image", "video"):
        if getattr(item.data, name).url:
            getattr(result.input.data, name).url = getattr(item.data, name).url
    if isinstance(outcome, LehrError):
        result.status.CopyFrom(status(status_code_pb2.INPUT_DOWNLOAD_FAILED, outcome.details))
        return result
    result.status.CopyFrom(status(status_code_pb2.SUCCESS))
    for one, data in zip(placed, outcome, strict=True):
        if not one.step.node.suppress_output:
            output = result.outputs.add(id=new_id(), created_at=now(), model=shown_model(one.model), data=data)
            output.status.CopyFrom(status(status_code_pb2.SUCCESS))
    return result


def overall(results: Sequence[resources_pb2.WorkflowResult]) -> status_pb2.Status:
    """The status of all of them together."""
    bad = [result for result in results if result.status.code != status_code_pb2.SUCCESS]
    if not bad:
        return status(status_code_pb2.SUCCESS)
    if len(bad) == len(results):
        return status(bad[0].status.code, bad[0].status.details)
    return status(status_code_pb2.MIXED_STATUS, f"{len(bad)} of {len(results)} inputs failed; see their own statuses.")
