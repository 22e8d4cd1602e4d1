"""RPCs that say beforehand what a training would take."""

from __future__ import annotations

from dataclasses import dataclass

from lehr.api.calls import Call
from lehr.protocol import service_pb2
from lehr.services.estimates import Estimates


@dataclass(frozen=True, kw_only=True)
class EstimateRpcs:
    """How long it would be."""

    estimates: Estimates

    def PostModelVersionsTrainingTimeEstimate(
        self, call: Call, request: service_pb2.PostModelVersionsTrainingTimeEstimateRequest
    ) -> service_pb2.MultiTrainingTimeEstimateResponse:
        """One duration per version asked about."""
        durations = self.estimates.estimate(call.needed_app(), request.model_id, request)
        return service_pb2.MultiTrainingTimeEstimateResponse(training_time_estimates=durations)
