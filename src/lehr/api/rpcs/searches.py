"""RPCs of searches, run at once or kept under an id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lehr.api.calls import Call
from lehr.errors import InvalidSearch
from lehr.protocol import resources_pb2, service_pb2, status_pb2
from lehr.services.media import shown
from lehr.services.paging import Paging, paging
from lehr.services.saved_searches import SavedSearches
from lehr.services.searches import Searches
from lehr.store.searches import Kind


@dataclass(frozen=True, kw_only=True)
class SearchRpcs:
    """Finding inputs and annotations."""

    searches: Searches
    saved: SavedSearches

    def PostInputsSearches(
        self, call: Call, request: service_pb2.PostInputsSearchesRequest
    ) -> service_pb2.MultiSearchResponse:
        """Finds inputs, or keeps searches that do."""
        if request.only_count and request.searches and not any(search.save for search in request.searches):
            return self._count(call, request.searches)
        return self._post(call, request.searches, request.pagination, "inputs")

    def PostAnnotationsSearches(
        self, call: Call, request: service_pb2.PostAnnotationsSearchesRequest
    ) -> service_pb2.MultiSearchResponse:
        """Finds annotations, or keeps searches that do."""
        return self._post(call, request.searches, request.pagination, "annotations")

    def PostSearches(self, call: Call, request: service_pb2.PostSearchesRequest) -> service_pb2.MultiSearchResponse:
        """Finds inputs by an older query, or by searches as newer clients send them."""
        searches = list(request.searches) or [resources_pb2.Search(query=request.query)]
        return self._post(call, searches, request.pagination, "inputs")

    def _count(self, call: Call, searches: Sequence[resources_pb2.Search]) -> service_pb2.MultiSearchResponse:
        totals = [self.searches.count(call.needed_app(), search, "inputs") for search in searches]
        counts = [resources_pb2.HitCount(estimated_total=total) for total in totals]
        return service_pb2.MultiSearchResponse(hit_counts=counts)

    def _post(
        self, call: Call, searches: Sequence[resources_pb2.Search], pages: service_pb2.Pagination, kind: Kind
    ) -> service_pb2.MultiSearchResponse:
        ref = call.needed_app()
        if searches and all(search.save for search in searches):
            return service_pb2.MultiSearchResponse(searches=self.saved.save(ref, searches, kind))
        search, page = _only(searches), _paging(pages)
        if search.id and not search.query.ListFields():
            return _answered(call, self.saved.run(ref, search.id, page), search)
        return _answered(call, self.searches.run(ref, search, page, kind), search)

    def GetSearch(self, call: Call, request: service_pb2.GetSearchRequest) -> service_pb2.SingleSearchResponse:
        """One saved search."""
        return service_pb2.SingleSearchResponse(search=self.saved.get(call.needed_app(), request.id))

    def ListSearches(self, call: Call, request: service_pb2.ListSearchesRequest) -> service_pb2.MultiSearchResponse:
        """The app's saved searches, newest first."""
        found = self.saved.list_of(call.needed_app(), paging(request.page, request.per_page))
        return service_pb2.MultiSearchResponse(searches=found)

    def PatchSearches(self, call: Call, request: service_pb2.PatchSearchesRequest) -> service_pb2.MultiSearchResponse:
        """Changes saved searches."""
        done = self.saved.patch(call.needed_app(), request.searches, request.action)
        return service_pb2.MultiSearchResponse(searches=done)

    def PatchInputsSearches(
        self, call: Call, request: service_pb2.PatchInputsSearchesRequest
    ) -> service_pb2.MultiSearchResponse:
        """Changes saved searches of inputs."""
        done = self.saved.patch(call.needed_app(), request.searches, request.action, "inputs")
        return service_pb2.MultiSearchResponse(searches=done)

    def PatchAnnotationsSearches(
        self, call: Call, request: service_pb2.PatchAnnotationsSearchesRequest
    ) -> service_pb2.MultiSearchResponse:
        """Changes saved searches of annotations."""
        done = self.saved.patch(call.needed_app(), request.searches, request.action, "annotations")
        return service_pb2.MultiSearchResponse(searches=done)

    def PostSearchesByID(
        self, call: Call, request: service_pb2.PostSearchesByIDRequest
    ) -> service_pb2.MultiSearchResponse:
        """Runs a saved search."""
        ref = call.needed_app()
        hits = self.saved.run(ref, request.id, _paging(request.pagination))
        return _answered(call, hits, self.saved.get(ref, request.id))

    def DeleteSearch(self, call: Call, request: service_pb2.DeleteSearchRequest) -> status_pb2.BaseResponse:
        """Deletes a saved search."""
        self.saved.delete(call.needed_app(), request.id)
        return status_pb2.BaseResponse()


def _only(searches: Sequence[resources_pb2.Search]) -> resources_pb2.Search:
    if len(searches) == 1:
        return searches[0]
    raise InvalidSearch(f"A request runs one search; this one has {len(searches)}. Several can be saved at once.")


def _paging(pages: service_pb2.Pagination) -> Paging:
    return paging(pages.page, pages.per_page)


def _without_bytes(query: resources_pb2.Query) -> None:
    pictures = [rank.annotation.data for rank in query.ranks if rank.annotation.data.HasField("image")]
    pictures += [each.output.input.data for each in query.ands if each.output.input.data.HasField("image")]
    for data in pictures:
        data.image.ClearField("base64")


def _answered(
    call: Call, hits: Sequence[resources_pb2.Hit], search: resources_pb2.Search
) -> service_pb2.MultiSearchResponse:
    """The hits, and what was asked for without the bytes of its pictures."""
    response = service_pb2.MultiSearchResponse(id=search.id, hits=hits, query=search.query, searches=[search])
    for query in (response.query, response.searches[0].query):
        _without_bytes(query)
    for hit in response.hits:
        hit.input.CopyFrom(shown(hit.input, call.needed_app(), call.base_url))
    return response
