"""RPCs of what concepts mean: relations, knowledge graphs, languages; and of how often they are said."""

from __future__ import annotations

from dataclasses import dataclass

from lehr.api.calls import Call
from lehr.protocol import service_pb2, status_pb2
from lehr.services.concept_details import ConceptDetails
from lehr.services.concept_relations import ConceptRelations
from lehr.services.paging import paging
from lehr.store.concept_relations import RelationFilter


@dataclass(frozen=True, kw_only=True)
class ConceptDetailRpcs:
    """Around the vocabulary of an app."""

    relations: ConceptRelations
    details: ConceptDetails

    def ListConceptRelations(
        self, call: Call, request: service_pb2.ListConceptRelationsRequest
    ) -> service_pb2.MultiConceptRelationResponse:
        """The relations of one concept, or of all, narrowed by predicate and graph."""
        filters = RelationFilter(
            subject_id=request.concept_id,
            predicate=request.predicate,
            knowledge_graph_id=request.knowledge_graph_id,
        )
        page = paging(request.page, request.per_page)
        found = self.relations.list_of(call.needed_app(), filters, page)
        return service_pb2.MultiConceptRelationResponse(concept_relations=found)

    def PostConceptRelations(
        self, call: Call, request: service_pb2.PostConceptRelationsRequest
    ) -> service_pb2.MultiConceptRelationResponse:
        """Relates a concept to others."""
        made = self.relations.create(call.needed_app(), request.concept_id, request.concept_relations)
        return service_pb2.MultiConceptRelationResponse(concept_relations=made)

    def DeleteConceptRelations(
        self, call: Call, request: service_pb2.DeleteConceptRelationsRequest
    ) -> status_pb2.BaseResponse:
        """Deletes relations of a concept; an empty list deletes none."""
        self.relations.delete(call.needed_app(), request.concept_id, request.ids)
        return status_pb2.BaseResponse()

    def ListKnowledgeGraphs(
        self, call: Call, request: service_pb2.ListKnowledgeGraphsRequest
    ) -> service_pb2.MultiKnowledgeGraphResponse:
        """The graphs that relations may belong to."""
        found = self.relations.list_graphs(call.needed_app())
        return service_pb2.MultiKnowledgeGraphResponse(knowledge_graphs=found)

    def PostKnowledgeGraphs(
        self, call: Call, request: service_pb2.PostKnowledgeGraphsRequest
    ) -> service_pb2.MultiKnowledgeGraphResponse:
        """Makes graphs."""
        made = self.relations.create_graphs(call.needed_app(), request.knowledge_graphs)
        return service_pb2.MultiKnowledgeGraphResponse(knowledge_graphs=made)

    def GetConceptCounts(
        self, call: Call, request: service_pb2.GetConceptCountsRequest
    ) -> service_pb2.MultiConceptCountResponse:
        """On how many inputs each concept is."""
        page = paging(request.page, request.per_page)
        return service_pb2.MultiConceptCountResponse(concept_counts=self.details.counts(call.needed_app(), page))

    def GetConceptLanguage(
        self, call: Call, request: service_pb2.GetConceptLanguageRequest
    ) -> service_pb2.SingleConceptLanguageResponse:
        """A concept in one language."""
        found = self.details.language(call.needed_app(), request.concept_id, request.language)
        return service_pb2.SingleConceptLanguageResponse(concept_language=found)

    def ListConceptLanguages(
        self, call: Call, request: service_pb2.ListConceptLanguagesRequest
    ) -> service_pb2.MultiConceptLanguageResponse:
        """A concept in every language that it has."""
        page = paging(request.page, request.per_page)
        found = self.details.languages(call.needed_app(), request.concept_id, page)
        return service_pb2.MultiConceptLanguageResponse(concept_languages=found)

    def PostConceptLanguages(
        self, call: Call, request: service_pb2.PostConceptLanguagesRequest
    ) -> service_pb2.MultiConceptLanguageResponse:
        """Adds languages to a concept."""
        made = self.details.add(call.needed_app(), request.concept_id, request.concept_languages)
        return service_pb2.MultiConceptLanguageResponse(concept_languages=made)

    def PatchConceptLanguages(
        self, call: Call, request: service_pb2.PatchConceptLanguagesRequest
    ) -> service_pb2.MultiConceptLanguageResponse:
        """Changes a concept's name or definition in languages."""
        done = self.details.patch(call.needed_app(), request.concept_id, request.concept_languages, request.action)
        return service_pb2.MultiConceptLanguageResponse(concept_languages=done)
