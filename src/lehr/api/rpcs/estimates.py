"""RPCs that say beforehand what a training would take."""

from __future__ import annotations

from dataclasses import dataclass

from lehr.api.calls import Call
from lehr.protocol import service_pb2, status_code_pb2
from lehr.protocol.statuses import status
from lehr.services.estimates import Estimates


@dataclass(frozen=True, kw_only=True)
class EstimateRpcs:
    """How long it would be."""

    estimates: Estimates

    def PostModelVersionsTrainingTimeEstimate(
        self, call: Call, request: service_pb2.PostModelVersionsTrainingTimeEstimateRequest
    ) -> service_pb2.MultiTrainingTimeEstimateResponse:
        """One duration per version asked about; the memory, which has no field, is told in the status's details."""
        forecasts = self.estimates.estimate(call.needed_app(), request.model_id, request, confined=call.is_confined)
        most = max(forecast.peak_bytes for forecast in forecasts)
        return service_pb2.MultiTrainingTimeEstimateResponse(
            status=status(status_code_pb2.SUCCESS, f"Its steps take about {most / 1e6:,.0f} MB of memory."),
            training_time_estimates=[forecast.duration for forecast in forecasts],
        )
