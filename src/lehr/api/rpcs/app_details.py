"""RPCs of apps in detail."""

from __future__ import annotations

from dataclasses import dataclass

from lehr.api.calls import Call
from lehr.protocol import service_pb2
from lehr.services.app_details import AppDetails
from lehr.services.paging import paging


@dataclass(frozen=True, kw_only=True)
class AppDetailRpcs:
    """Found, counted, described, renamed."""

    details: AppDetails

    def PatchAppsDetails(
        self, call: Call, request: service_pb2.PatchAppsDetailsRequest
    ) -> service_pb2.MultiAppResponse:
        """Changes what is said of an app."""
        done = self.details.describe(call.needed_app(), request.apps, request.action)
        return service_pb2.MultiAppResponse(apps=done)

    def PatchAppsIds(self, call: Call, request: service_pb2.PatchAppsIdsRequest) -> service_pb2.MultiAppResponse:
        """Gives apps other ids."""
        return service_pb2.MultiAppResponse(apps=self.details.rename(call.user_id, request.ids, request.action))

    def PostAppsSearches(
        self, call: Call, request: service_pb2.PostAppsSearchesRequest
    ) -> service_pb2.MultiAppResponse:
        """The user's apps by name."""
        page = paging(request.pagination.page, request.pagination.per_page)
        return service_pb2.MultiAppResponse(apps=self.details.search(call.user_id, request.app_query.name, page))

    def GetResourceCounts(
        self, call: Call, request: service_pb2.GetResourceCountsRequest
    ) -> service_pb2.GetResourceCountsResponse:
        """How much there is in an app."""
        return self.details.counts(call.needed_app())
