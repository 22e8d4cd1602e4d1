"""Predictions: bytes or addresses in, sorted concepts, regions or an embedding out; of a video, frame by frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from sqlalchemy import Connection

from lehr.errors import Busy, InvalidPrediction, LehrError, Untrained
from lehr.learn.bundle import Bundle
from lehr.protocol import resources_pb2, service_pb2, status_code_pb2, status_pb2
from lehr.protocol.ids import AppRef, new_id
from lehr.protocol.statuses import status
from lehr.services.bundles import Bundles
from lehr.services.films import MAX_FRAMES, predicted, sample_ms_of
from lehr.services.located import located, located_version
from lehr.services.models import found_model, found_version, with_version
from lehr.services.pictures import Pictures
from lehr.services.regions import labels_in
from lehr.services.telling import concept_names, known_bundle, shown_model, telling
from lehr.serving.decoders import DecoderPool
from lehr.serving.fetch import Fetcher
from lehr.serving.predictors import Predictors
from lehr.store import apps as app_rows
from lehr.store import versions as version_rows
from lehr.store.blobs import Blobs
from lehr.store.db import Database
from lehr.store.times import now
from lehr.store.versions import ModelVersionRef

MAX_INPUTS = 128
VIDEO_SECONDS = 300.0
"""The videos of one request may take this long together; clients wait for the answer all the while."""
Seen = np.ndarray | LehrError | None
"""A picture's pixels, or why there are none; None for a video."""


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A trained version that can be asked, and what of its outputs a request wants to hear."""

    model: resources_pb2.Model
    """With its version."""
    bundle: Bundle
    tell: Callable[[np.ndarray], resources_pb2.Data]
    predictors: Predictors

    @property
    def image_size(self) -> int:
        """The shorter side of the pictures that it takes."""
        return int(self.bundle.preprocessing.image_size)

    def data(self, pictures: Sequence[np.ndarray]) -> list[resources_pb2.Data]:
        """What is in each picture (uint8 [height, width, 3]), in order. Raises Loading or Busy."""
        if not pictures:
            return []
        return self.told(self.predictors.predict(self.bundle.folder, pictures))

    def told(self, outputs: Iterable[np.ndarray]) -> list[resources_pb2.Data]:
        """What the model's outputs say, one of each picture."""
        found = [self.tell(values) for values in outputs]
        for label in (label for data in found for label in labels_in(data)):
            label.app_id, label.user_id = self.model.app_id, self.model.user_id
        return found


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Needs the store, trained bundles, decoder and predictor processes, and a way to fetch URLs."""

    db: Database
    blobs: Blobs
    bundles: Bundles
    decoders: DecoderPool
    predictors: Predictors
    fetcher: Fetcher
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(16, "predict"))
    video_seconds: float = VIDEO_SECONDS

    @cached_property
    def pictures(self) -> Pictures:
        """Reads what inputs show."""
        return Pictures(db=self.db, blobs=self.blobs, decoders=self.decoders, fetcher=self.fetcher)

    def outputs(self, ref: AppRef, request: service_pb2.PostModelOutputsRequest) -> service_pb2.MultiOutputResponse:
        """One output per input, in order. An input that fails has its own status and does not fail the others.

        Raises InvalidPrediction, ModelNotFound, Untrained, Loading or Busy for the request as a whole.
        """
        if not 1 <= len(request.inputs) <= MAX_INPUTS:
            raise InvalidPrediction(f"A request carries 1 to {MAX_INPUTS} inputs; this one has {len(request.inputs)}.")
        ready = self.ready(ref, ModelVersionRef(ref, request.model_id, request.version_id), request.model)
        sample_ms = self.sample_ms(ref, request.model, ready.model)
        seen = list(self.threads.map(lambda item: self._seen(ref, item, ready.image_size), request.inputs))
        told = iter(ready.data([one for one in seen if isinstance(one, np.ndarray)]))
        deadline = time.monotonic() + self.video_seconds
        shown, outputs = shown_model(ready.model), []
        for item, one in zip(request.inputs, seen, strict=True):
            if one is None:
                found = self._film(ready, ref, item, sample_ms, deadline)
            else:
                found = one if isinstance(one, LehrError) else next(told)
            is_bad = isinstance(found, LehrError)
            outputs.append(_failed(shown, item, found) if is_bad else _output(shown, item, found))
        return service_pb2.MultiOutputResponse(status=_overall(outputs), outputs=outputs)

    def ready(self, ref: AppRef, wanted: ModelVersionRef, asked: resources_pb2.Model) -> Ready:
        """The model version named (version "": the newest trained one), told as `asked`'s output_info says.

        `wanted.app` is `ref`, or the app that the caller may use it from; a built-in model is found from anywhere.
        Raises InvalidPrediction, ModelNotFound, Untrained or Loading.
        """
        with self.db.read() as tx:
            home, model_id = located(tx, wanted.app, wanted.model_id)
            model = self._model(tx, home, model_id, located_version(home, model_id, wanted.version_id))
            names = concept_names(tx, home, model)
        vref = ModelVersionRef(home, model.id, model.model_version.id)
        bundle = known_bundle(self.bundles.folder_of(vref))
        return Ready(model=model, bundle=bundle, tell=telling(bundle, names, model, asked), predictors=self.predictors)

    def sample_ms(self, ref: AppRef, asked: resources_pb2.Model, own: resources_pb2.Model) -> int:
        """Milliseconds between the frames of a video. Raises InvalidPrediction."""
        with self.db.read() as tx:
            app = app_rows.get(tx, ref)
        return sample_ms_of(asked, own, app or resources_pb2.App())

    def _model(self, tx: Connection, ref: AppRef, model_id: str, version_id: str) -> resources_pb2.Model:
        """The model with the version given, else with its newest trained one."""
        model = found_model(tx, ref, model_id)
        if version_id:
            return with_version(model, found_version(tx, ref, model_id, version_id))
        version = version_rows.latest_trained(tx, ref, [model_id]).get(model_id)
        if version is None:
            raise Untrained(
                f"Model {model_id!r} has no trained version yet: train one with PostModelVersions and wait for 21100."
            )
        return with_version(model, version)

    def _seen(self, ref: AppRef, item: resources_pb2.Input, image_size: int) -> Seen:
        """What is wrong with an input is its own affair; that the decoders are busy concerns the whole request."""
        try:
            if self.pictures.kind(ref, item) == "video":
                return None
            return self.pictures.pixels(ref, item, image_size)
        except Busy:
            raise
        except LehrError as error:
            return error

    def _film(
        self, ready: Ready, ref: AppRef, item: resources_pb2.Input, sample_ms: int, deadline: float
    ) -> resources_pb2.Data | LehrError:
        try:
            parts = self.pictures.frames(
                ref, item, sample_ms=sample_ms, shorter_side=ready.image_size, max_frames=MAX_FRAMES
            )
            return predicted(parts, ready.data, deadline)
        except Busy:
            raise
        except LehrError as error:
            return error


def _output(model: resources_pb2.Model, item: resources_pb2.Input, data: resources_pb2.Data) -> resources_pb2.Output:
    output = _bare_output(model, item)
    output.status.CopyFrom(status(status_code_pb2.SUCCESS))
    output.data.CopyFrom(data)
    return output


def _failed(model: resources_pb2.Model, item: resources_pb2.Input, error: LehrError) -> resources_pb2.Output:
    """Whatever is wrong with an input, clients match on 30002; the sentence says what it was."""
    output = _bare_output(model, item)
    output.status.CopyFrom(status(status_code_pb2.INPUT_DOWNLOAD_FAILED, error.details))
    return output


def _bare_output(model: resources_pb2.Model, item: resources_pb2.Input) -> resources_pb2.Output:
    """Names the model and the input; the input's bytes are not echoed."""
    output = resources_pb2.Output(id=new_id(), created_at=now(), model=model)
    output.input.id = item.id or new_id()
    if item.data.image.url:
        output.input.data.image.url = item.data.image.url
    if item.data.video.url:
        output.input.data.video.url = item.data.video.url
    return output


def _overall(outputs: Sequence[resources_pb2.Output]) -> status_pb2.Status:
    bad = [output for output in outputs if output.status.code != status_code_pb2.SUCCESS]
    if not bad:
        return status(status_code_pb2.SUCCESS)
    if len(bad) == len(outputs):
        return status(bad[0].status.code, bad[0].status.details)
    return status(status_code_pb2.MIXED_STATUS, f"{len(bad)} of {len(outputs)} inputs failed; see their own statuses.")
