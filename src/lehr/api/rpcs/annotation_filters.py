"""RPCs of annotation filters."""

from __future__ import annotations

from dataclasses import dataclass

from lehr.api.calls import Call
from lehr.protocol import service_pb2, status_pb2
from lehr.services.annotation_filters import AnnotationFilters
from lehr.services.paging import paging


@dataclass(frozen=True, kw_only=True)
class AnnotationFilterRpcs:
    """Which annotations versions of data sets hold."""

    filters: AnnotationFilters

    def PostAnnotationFilters(
        self, call: Call, request: service_pb2.PostAnnotationFiltersRequest
    ) -> service_pb2.MultiAnnotationFilterResponse:
        """Makes filters, all or none."""
        made = self.filters.create(call.needed_app(), request.annotation_filters)
        return service_pb2.MultiAnnotationFilterResponse(annotation_filters=made)

    def GetAnnotationFilter(
        self, call: Call, request: service_pb2.GetAnnotationFilterRequest
    ) -> service_pb2.SingleAnnotationFilterResponse:
        """One filter."""
        found = self.filters.get(call.needed_app(), request.annotation_filter_id)
        return service_pb2.SingleAnnotationFilterResponse(annotation_filter=found)

    def ListAnnotationFilters(
        self, call: Call, request: service_pb2.ListAnnotationFiltersRequest
    ) -> service_pb2.MultiAnnotationFilterResponse:
        """The app's filters, newest first."""
        found = self.filters.list_of(call.needed_app(), paging(request.page, request.per_page))
        return service_pb2.MultiAnnotationFilterResponse(annotation_filters=found)

    def PatchAnnotationFilters(
        self, call: Call, request: service_pb2.PatchAnnotationFiltersRequest
    ) -> service_pb2.MultiAnnotationFilterResponse:
        """Changes filters."""
        done = self.filters.patch(call.needed_app(), request.annotation_filters, request.action)
        return service_pb2.MultiAnnotationFilterResponse(annotation_filters=done)

    def DeleteAnnotationFilters(
        self, call: Call, request: service_pb2.DeleteAnnotationFiltersRequest
    ) -> status_pb2.BaseResponse:
        """Deletes filters; an empty list deletes none."""
        self.filters.delete(call.needed_app(), request.annotation_filter_ids)
        return status_pb2.BaseResponse()
