"""RPCs of evaluations: of any model of the app, of one version, and a version's own metrics."""

from __future__ import annotations

from dataclasses import dataclass

from lehr.api.calls import Call
from lehr.errors import InvalidRequest
from lehr.protocol import resources_pb2, service_pb2
from lehr.services.evaluations import Evaluations
from lehr.services.paging import paging
from lehr.store.evaluations import SORTS, EvaluationFilter, Order
from lehr.store.versions import ModelVersionRef


@dataclass(frozen=True, kw_only=True)
class EvaluationRpcs:
    """How well a trained version does on labelled data."""

    evaluations: Evaluations

    def PostEvaluations(
        self, call: Call, request: service_pb2.PostEvaluationsRequest
    ) -> service_pb2.MultiEvalMetricsResponse:
        """Puts evaluations of any models of the app into the queue."""
        made = self.evaluations.request(call.needed_app(), request.eval_metrics, is_confined=call.is_confined)
        return service_pb2.MultiEvalMetricsResponse(eval_metrics=made)

    def PostModelVersionEvaluations(
        self, call: Call, request: service_pb2.PostModelVersionEvaluationsRequest
    ) -> service_pb2.MultiEvalMetricsResponse:
        """Puts evaluations of one version into the queue."""
        orders = [_of_version(order, request) for order in request.eval_metrics or [resources_pb2.EvalMetrics()]]
        made = self.evaluations.request(call.needed_app(), orders, is_confined=call.is_confined)
        return service_pb2.MultiEvalMetricsResponse(eval_metrics=made)

    def GetEvaluation(
        self, call: Call, request: service_pb2.GetEvaluationRequest
    ) -> service_pb2.SingleEvalMetricsResponse:
        """One evaluation with the parts asked for."""
        metrics = self.evaluations.get(call.needed_app(), request.evaluation_id, request.fields, call.base_url)
        return service_pb2.SingleEvalMetricsResponse(eval_metrics=metrics)

    def GetModelVersionEvaluation(
        self, call: Call, request: service_pb2.GetModelVersionEvaluationRequest
    ) -> service_pb2.SingleEvalMetricsResponse:
        """The same, if it is one of this version."""
        ref = call.needed_app()
        self.evaluations.check_version(_vref(call, request), request.evaluation_id)
        metrics = self.evaluations.get(ref, request.evaluation_id, request.fields, call.base_url)
        return service_pb2.SingleEvalMetricsResponse(eval_metrics=metrics)

    def ListEvaluations(
        self, call: Call, request: service_pb2.ListEvaluationsRequest
    ) -> service_pb2.MultiEvalMetricsResponse:
        """The evaluations of an app, or of all the user's apps where none is named; newest first."""
        filters = EvaluationFilter(
            model_type_id=request.model_type_id,
            eval_dataset_ids=tuple(request.eval_dataset_ids),
            train_dataset_ids=tuple(request.train_dataset_ids),
            concept_ids=tuple(request.concept_ids),
            with_failed=request.show_failed_metrics,
        )
        page = paging(request.page, request.per_page)
        found = self.evaluations.list_of(call.app or call.user_id, page, filters, _order(request))
        return service_pb2.MultiEvalMetricsResponse(eval_metrics=found)

    def ListModelVersionEvaluations(
        self, call: Call, request: service_pb2.ListModelVersionEvaluationsRequest
    ) -> service_pb2.MultiEvalMetricsResponse:
        """A version's evaluations, newest first, failed ones too."""
        page = paging(request.page, request.per_page)
        found = self.evaluations.list_of_version(_vref(call, request), page)
        return service_pb2.MultiEvalMetricsResponse(eval_metrics=found)

    def PostModelVersionMetrics(
        self, call: Call, request: service_pb2.PostModelVersionMetricsRequest
    ) -> service_pb2.SingleModelVersionResponse:
        """Measures a version's own metrics anew: on `test_search`, else on what its training kept back."""
        vref = ModelVersionRef(call.needed_app(), request.model_id, request.version_id)
        version = self.evaluations.request_metrics(vref, request.test_search, request.eval_info)
        return service_pb2.SingleModelVersionResponse(model_version=version)

    def GetModelVersionMetrics(
        self, call: Call, request: service_pb2.GetModelVersionMetricsRequest
    ) -> service_pb2.SingleModelVersionResponse:
        """A version with its own metrics, and of those the parts asked for."""
        vref = ModelVersionRef(call.needed_app(), request.model_id, request.version_id)
        version = self.evaluations.metrics_of(vref, request.fields, call.base_url)
        return service_pb2.SingleModelVersionResponse(model_version=version)


def _vref(
    call: Call,
    request: service_pb2.GetModelVersionEvaluationRequest | service_pb2.ListModelVersionEvaluationsRequest,
) -> ModelVersionRef:
    return ModelVersionRef(call.needed_app(), request.model_id, request.model_version_id)


def _of_version(
    order: resources_pb2.EvalMetrics, request: service_pb2.PostModelVersionEvaluationsRequest
) -> resources_pb2.EvalMetrics:
    """The order for the version of the path; a different one inside it is a mistake."""
    wanted = resources_pb2.EvalMetrics()
    wanted.CopyFrom(order)
    named = (wanted.model.id or request.model_id, wanted.model.model_version.id or request.model_version_id)
    if named != (request.model_id, request.model_version_id):
        raise InvalidRequest(
            f"eval_metrics.model names version {named[1]!r} of model {named[0]!r}, the request itself version "
            f"{request.model_version_id!r} of model {request.model_id!r}: leave eval_metrics.model out."
        )
    wanted.model.id, wanted.model.model_version.id = named
    return wanted


def _order(request: service_pb2.ListEvaluationsRequest) -> Order:
    """The protocol allows one `sort_by_…` at a time."""
    by = next((name for name in SORTS if getattr(request, f"sort_by_{name}")), "created_at")
    return Order(by=by, is_ascending=request.sort_ascending)
