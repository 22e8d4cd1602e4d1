"""RPCs of concepts."""

from __future__ import annotations

from dataclasses import dataclass

from lehr.api.calls import Call
from lehr.errors import InvalidSearch
from lehr.protocol import service_pb2
from lehr.services.concepts import Concepts
from lehr.services.paging import paging


@dataclass(frozen=True, kw_only=True)
class ConceptRpcs:
    """The vocabulary of an app."""

    concepts: Concepts

    def PostConcepts(self, call: Call, request: service_pb2.PostConceptsRequest) -> service_pb2.MultiConceptResponse:
        """Makes concepts, all or none."""
        made = self.concepts.create(call.needed_app(), request.concepts)
        return service_pb2.MultiConceptResponse(concepts=made)

    def GetConcept(self, call: Call, request: service_pb2.GetConceptRequest) -> service_pb2.SingleConceptResponse:
        """One concept."""
        found = self.concepts.get(call.needed_app(), request.concept_id)
        return service_pb2.SingleConceptResponse(concept=found)

    def ListConcepts(self, call: Call, request: service_pb2.ListConceptsRequest) -> service_pb2.MultiConceptResponse:
        """The app's concepts, oldest first."""
        page = paging(request.page, request.per_page)
        found = self.concepts.list_of(call.needed_app(), page, like=request.id)
        return service_pb2.MultiConceptResponse(concepts=found)

    def PatchConcepts(self, call: Call, request: service_pb2.PatchConceptsRequest) -> service_pb2.MultiConceptResponse:
        """Changes concepts."""
        done = self.concepts.patch(call.needed_app(), request.concepts, request.action)
        return service_pb2.MultiConceptResponse(concepts=done)

    def PostConceptsSearches(
        self, call: Call, request: service_pb2.PostConceptsSearchesRequest
    ) -> service_pb2.MultiConceptResponse:
        """Concepts by a part of their name or id."""
        query = request.concept_query
        if query.HasField("model") or query.HasField("workflow") or query.workflow_id or query.use_cases:
            raise InvalidSearch("Concepts are searched by name within the app; ListModelConcepts lists a model's own.")
        page = paging(request.pagination.page, request.pagination.per_page)
        found = self.concepts.search(call.needed_app(), query.name, page, language=query.language)
        return service_pb2.MultiConceptResponse(concepts=found)
