"""RPCs that answer predictions as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lehr.api.calls import Call
from lehr.errors import InvalidModel, InvalidPrediction
from lehr.protocol import service_pb2
from lehr.services.model_outputs import ModelOutputs


@dataclass(frozen=True, kw_only=True)
class ModelStreamRpcs:
    """One answer per request: a picture's prediction has no parts that could come earlier."""

    predict: ModelOutputs

    def GenerateModelOutputs(
        self, call: Call, request: service_pb2.PostModelOutputsRequest
    ) -> Iterator[service_pb2.MultiOutputResponse]:
        """The answer to one request, with an output per input."""
        _check_named(request)
        yield self.predict.outputs(call.needed_app(), request)

    def StreamModelOutputs(
        self, call: Call, requests: Iterator[service_pb2.PostModelOutputsRequest]
    ) -> Iterator[service_pb2.MultiOutputResponse]:
        """An answer per request, as they come. Requests after the first may leave out which app and model they mean.

        Raises InvalidPrediction for one that means another app: the first one's was checked.
        """
        ref, first = call.needed_app(), None
        for request in requests:
            if first is None:
                first = request
            elif request.user_app_id.ListFields() and request.user_app_id != first.user_app_id:
                raise InvalidPrediction("all requests of a stream are about one app: open another stream for another.")
            if not request.model_id:
                request.model_id, request.version_id = first.model_id, request.version_id or first.version_id
            _check_named(request)
            yield self.predict.outputs(ref, request)


def _check_named(request: service_pb2.PostModelOutputsRequest) -> None:
    if not request.model_id:
        raise InvalidModel("model_id is empty: name the model to predict with.")
