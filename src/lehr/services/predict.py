"""Predictions: bytes or addresses in, sorted concepts, regions or an embedding out."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Connection

from lehr.errors import DownloadFailed, InvalidPrediction, LehrError, Untrained
from lehr.protocol import resources_pb2, service_pb2, status_code_pb2, status_pb2
from lehr.protocol.ids import AppRef, new_id
from lehr.protocol.statuses import status
from lehr.services.bundles import Bundles
from lehr.services.located import located, located_version
from lehr.services.models import found_model, found_version, with_version
from lehr.services.regions import labels_in
from lehr.services.telling import concept_names, known_bundle, telling
from lehr.serving.decoders import DecoderPool
from lehr.serving.fetch import Fetcher
from lehr.serving.predictors import Predictors
from lehr.store import inputs as input_rows
from lehr.store import versions as version_rows
from lehr.store.blobs import Blobs
from lehr.store.db import Database
from lehr.store.times import now
from lehr.store.versions import ModelVersionRef

MAX_INPUTS = 128


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

    def outputs(self, ref: AppRef, request: service_pb2.PostModelOutputsRequest) -> service_pb2.MultiOutputResponse:
        """One output per input, in order. An input that fails has its own status and does not fail the others.

        Raises InvalidPrediction, ModelNotFound, Untrained, Loading or Busy for the request as a whole.
        """
        if not 1 <= len(request.inputs) <= MAX_INPUTS:
            raise InvalidPrediction(f"A request carries 1 to {MAX_INPUTS} inputs; this one has {len(request.inputs)}.")
        with self.db.read() as tx:
            home, model_id = located(tx, ref, request.model_id)
            model = self._model(tx, home, model_id, located_version(home, model_id, request.version_id))
            names = concept_names(tx, home, model)
        version_id = model.model_version.id
        bundle = known_bundle(self.bundles.folder_of(ModelVersionRef(home, model.id, version_id)))
        told = telling(bundle, names, model, request.model)
        side = bundle.preprocessing.image_size
        pixels = list(self.threads.map(lambda item: self._pixels(ref, item, side), request.inputs))
        good = [item for item in pixels if isinstance(item, np.ndarray)]
        values = iter(self.predictors.predict(bundle.folder, good) if good else ())
        shown = _shown_model(model)
        outputs = [
            _failed(shown, item, result) if isinstance(result, LehrError) else _output(shown, item, told(next(values)))
            for item, result in zip(request.inputs, pixels, strict=True)
        ]
        return service_pb2.MultiOutputResponse(status=_overall(outputs), outputs=outputs)

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

    def _pixels(self, ref: AppRef, item: resources_pb2.Input, image_size: int) -> np.ndarray | LehrError:
        try:
            return self.decoders.decode(self._bytes(ref, item), shorter_side=image_size).pixels
        except LehrError as error:
            return error

    def _bytes(self, ref: AppRef, item: resources_pb2.Input) -> bytes:
        image = item.data.image
        if image.base64:
            return image.base64
        if image.url:
            return self.fetcher.fetch(image.url).data
        if item.id and not item.HasField("data"):
            return self._stored(ref, item.id)
        kinds = ", ".join(field.name for field, _ in item.data.ListFields()) or "nothing"
        raise InvalidPrediction(f"An input needs data.image with base64 or url; this one has {kinds}.")

    def _stored(self, ref: AppRef, input_id: str) -> bytes:
        with self.db.read() as tx:
            stored = input_rows.stored(tx, ref, [input_id]).get(input_id)
        if stored is None or not stored.content_sha:
            raise DownloadFailed(f"The app has no image under input id {input_id!r}.")
        return self.blobs.read(stored.content_sha)


def _shown_model(model: resources_pb2.Model) -> resources_pb2.Model:
    """The model as an output names it: who it is, without its configuration."""
    return resources_pb2.Model(
        id=model.id,
        name=model.name,
        app_id=model.app_id,
        user_id=model.user_id,
        model_type_id=model.model_type_id,
        created_at=model.created_at,
        model_version=resources_pb2.ModelVersion(
            id=model.model_version.id,
            created_at=model.model_version.created_at,
            status=model.model_version.status,
            app_id=model.app_id,
            user_id=model.user_id,
        ),
    )


def _output(model: resources_pb2.Model, item: resources_pb2.Input, data: resources_pb2.Data) -> resources_pb2.Output:
    for concept in labels_in(data):
        concept.app_id, concept.user_id = model.app_id, model.user_id
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
    return output


def _overall(outputs: Sequence[resources_pb2.Output]) -> status_pb2.Status:
    bad = [output for output in outputs if output.status.code != status_code_pb2.SUCCESS]
    if not bad:
        return status(status_code_pb2.SUCCESS)
    if len(bad) == len(outputs):
        return status(bad[0].status.code, bad[0].status.details)
    return status(status_code_pb2.MIXED_STATUS, f"{len(bad)} of {len(outputs)} inputs failed; see their own statuses.")
