"""RPCs of what surrounds a model: tags, other ids, inputs, examples, references, publication."""

from __future__ import annotations

from dataclasses import dataclass

from lehr.api.calls import Call
from lehr.api.rpcs.inputs import shown_all
from lehr.protocol import service_pb2, status_pb2
from lehr.services import model_tags
from lehr.services.model_ids import ModelIds
from lehr.services.model_inputs import ModelInputs
from lehr.services.model_references import ModelReferences
from lehr.services.model_tags import ModelTags
from lehr.services.models import Models
from lehr.services.paging import paging
from lehr.services.publications import Publications
from lehr.store.models import ModelFilter


@dataclass(frozen=True, kw_only=True)
class ModelDetailRpcs:
    """Everything about a model but what it computes."""

    models: Models
    tags: ModelTags
    ids: ModelIds
    inputs: ModelInputs
    references: ModelReferences
    publications: Publications

    def PostModelsSearches(
        self, call: Call, request: service_pb2.PostModelsSearchesRequest
    ) -> service_pb2.MultiModelResponse:
        """Models by name (`*` stands for anything) and type, the last changed first."""
        page = paging(request.pagination.page, request.pagination.per_page)
        query = request.model_query
        filters = ModelFilter(model_type_id=query.model_type_id, pattern=query.name)
        return service_pb2.MultiModelResponse(models=self.models.list_of(call.needed_app(), page, filters))

    def PatchModelIds(self, call: Call, request: service_pb2.PatchModelIdsRequest) -> service_pb2.MultiModelResponse:
        """Gives models other ids."""
        done = self.ids.rename(call.needed_app(), request.ids, request.action)
        return service_pb2.MultiModelResponse(models=done)

    def ListModelInputs(
        self, call: Call, request: service_pb2.ListModelInputsRequest
    ) -> service_pb2.MultiInputResponse:
        """What a version learned from."""
        page = paging(request.page, request.per_page)
        found = self.inputs.list_of(call.needed_app(), request.model_id, request.version_id, page)
        return service_pb2.MultiInputResponse(inputs=shown_all(call, found))

    def ListModelVersionInputExamples(
        self, call: Call, request: service_pb2.ListModelVersionInputExamplesRequest
    ) -> service_pb2.MultiModelVersionInputExampleResponse:
        """A few inputs to try a version with."""
        page = paging(request.page, request.per_page)
        found = self.inputs.examples(call.needed_app(), request.model_id, request.model_version_id, call.base_url)
        start = (page.page - 1) * page.per_page
        return service_pb2.MultiModelVersionInputExampleResponse(
            model_version_input_examples=found[start : start + page.per_page]
        )

    def GetModelVersionInputExample(
        self, call: Call, request: service_pb2.GetModelVersionInputExampleRequest
    ) -> service_pb2.SingleModelVersionInputExampleResponse:
        """One of them."""
        found = self.inputs.example(
            call.needed_app(), request.model_id, request.model_version_id, request.example_id, call.base_url
        )
        return service_pb2.SingleModelVersionInputExampleResponse(model_version_input_example=found)

    def ListModelReferences(
        self, call: Call, request: service_pb2.ListModelReferencesRequest
    ) -> service_pb2.MultiModelReferenceResponse:
        """Papers and weights that a model is built on."""
        page = paging(request.page, request.per_page)
        found = self.references.list_of(call.needed_app(), request.model_id, page)
        return service_pb2.MultiModelReferenceResponse(model_references=found)

    def PatchModelToolkits(
        self, call: Call, request: service_pb2.PatchModelToolkitsRequest
    ) -> service_pb2.MultiModelToolkitResponse:
        """Changes which toolkits a model is listed under."""
        ref, field = call.needed_app(), model_tags.TOOLKITS
        done = self.tags.patch(ref, request.model_id, field, request.toolkits, request.action)
        return service_pb2.MultiModelToolkitResponse(toolkits=done)

    def PatchModelUseCases(
        self, call: Call, request: service_pb2.PatchModelUseCasesRequest
    ) -> service_pb2.MultiModelUseCaseResponse:
        """Changes what a model is said to be for."""
        ref, field = call.needed_app(), model_tags.USE_CASES
        done = self.tags.patch(ref, request.model_id, field, request.usecases, request.action)
        return service_pb2.MultiModelUseCaseResponse(usecases=done)

    def PatchModelLanguages(
        self, call: Call, request: service_pb2.PatchModelLanguagesRequest
    ) -> service_pb2.MultiModelLanguageResponse:
        """Changes a model's languages."""
        ref, field = call.needed_app(), model_tags.LANGUAGES
        done = self.tags.patch(ref, request.model_id, field, request.languages, request.action)
        return service_pb2.MultiModelLanguageResponse(languages=done)

    def PatchModelCheckConsents(
        self, call: Call, request: service_pb2.PatchModelCheckConsentsRequest
    ) -> service_pb2.MultiModelCheckConsentResponse:
        """Changes what must be agreed to before the model is used."""
        ref, field = call.needed_app(), model_tags.CHECK_CONSENTS
        done = self.tags.patch(ref, request.model_id, field, request.check_consents, request.action)
        return service_pb2.MultiModelCheckConsentResponse(check_consents=done)

    def PostModelVersionsPublish(
        self, call: Call, request: service_pb2.PostModelVersionsPublishRequest
    ) -> status_pb2.BaseResponse:
        """Lets anyone on this server predict with versions."""
        ids = [each.version_id for each in request.publications]
        self.publications.publish(call.needed_app(), request.model_id, ids)
        return status_pb2.BaseResponse()

    def PostModelVersionsUnPublish(
        self, call: Call, request: service_pb2.PostModelVersionsUnPublishRequest
    ) -> status_pb2.BaseResponse:
        """Takes that back."""
        ids = [each.version_id for each in request.publications]
        self.publications.unpublish(call.needed_app(), request.model_id, ids)
        return status_pb2.BaseResponse()
