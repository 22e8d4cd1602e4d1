"""RPCs of models, their versions, model types and predictions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lehr.api.calls import Call
from lehr.errors import InvalidModel
from lehr.protocol import resources_pb2, service_pb2, status_code_pb2, status_pb2
from lehr.services import model_types
from lehr.services.model_outputs import ModelOutputs
from lehr.services.models import Models
from lehr.services.paging import paging
from lehr.services.signing import Signer
from lehr.services.training import Orders
from lehr.store.models import ModelFilter


@dataclass(frozen=True, kw_only=True)
class ModelRpcs:
    """From a model's first line to its predictions."""

    models: Models
    orders: Orders
    predict: ModelOutputs
    signer: Signer

    def PostModels(self, call: Call, request: service_pb2.PostModelsRequest) -> service_pb2.SingleModelResponse:
        """Makes models; older clients send one as `model`. Answers with the first."""
        wanted = [*request.models, *([request.model] if request.HasField("model") else [])]
        made = self.models.create(call.needed_app(), wanted, confined=call.is_confined)
        return service_pb2.SingleModelResponse(model=self._shown(call, made[0]))

    def GetModel(self, call: Call, request: service_pb2.GetModelRequest) -> service_pb2.SingleModelResponse:
        """A model with one version: the one named, or the newest."""
        model = self.models.get(call.needed_app(), request.model_id, request.version_id)
        return service_pb2.SingleModelResponse(model=self._shown(call, model))

    def GetModelOutputInfo(self, call: Call, request: service_pb2.GetModelRequest) -> service_pb2.SingleModelResponse:
        """The same, with the version's output info where older clients look for it."""
        model = self.models.get(call.needed_app(), request.model_id, request.version_id)
        model.output_info.CopyFrom(model.model_version.output_info)
        return service_pb2.SingleModelResponse(model=self._shown(call, model))

    def ListModels(self, call: Call, request: service_pb2.ListModelsRequest) -> service_pb2.MultiModelResponse:
        """Models with their newest version each."""
        filters = ModelFilter(
            model_type_id=request.model_type_id,
            name=request.name,
            trained_only=request.trained_only,
            query=request.query or request.search,
        )
        page = paging(request.page, request.per_page)
        models = self.models.list_of(call.needed_app(), page, filters)
        return service_pb2.MultiModelResponse(models=[self._shown(call, model) for model in models])

    def PatchModels(self, call: Call, request: service_pb2.PatchModelsRequest) -> service_pb2.MultiModelResponse:
        """Changes models."""
        models = self.models.patch(call.needed_app(), request.models, request.action, confined=call.is_confined)
        return service_pb2.MultiModelResponse(models=[self._shown(call, model) for model in models])

    def DeleteModel(self, call: Call, request: service_pb2.DeleteModelRequest) -> status_pb2.BaseResponse:
        """Deletes one model and stops its training."""
        self.models.delete(call.needed_app(), [request.model_id])
        return status_pb2.BaseResponse()

    def DeleteModels(self, call: Call, request: service_pb2.DeleteModelsRequest) -> status_pb2.BaseResponse:
        """Deletes the models named; all of them only with `delete_all`."""
        self.models.delete(call.needed_app(), request.ids, everything=request.delete_all)
        return status_pb2.BaseResponse()

    def PostModelVersions(
        self, call: Call, request: service_pb2.PostModelVersionsRequest
    ) -> service_pb2.SingleModelResponse:
        """Starts a training."""
        model = self.orders.request(call.needed_app(), request.model_id, request, confined=call.is_confined)
        return service_pb2.SingleModelResponse(model=self._shown(call, model))

    def GetModelVersion(
        self, call: Call, request: service_pb2.GetModelVersionRequest
    ) -> service_pb2.SingleModelVersionResponse:
        """One version."""
        version = self.models.get_version(call.needed_app(), request.model_id, request.version_id)
        self._add_log(call, request.model_id, version)
        return service_pb2.SingleModelVersionResponse(model_version=version)

    def ListModelVersions(
        self, call: Call, request: service_pb2.ListModelVersionsRequest
    ) -> service_pb2.MultiModelVersionResponse:
        """A model's versions, newest first."""
        page = paging(request.page, request.per_page)
        versions = self.models.list_versions(
            call.needed_app(), request.model_id, page, trained_only=request.trained_only
        )
        return self._many_versions(call, request.model_id, versions)

    def PatchModelVersions(
        self, call: Call, request: service_pb2.PatchModelVersionsRequest
    ) -> service_pb2.MultiModelVersionResponse:
        """Changes what is said of versions."""
        versions = self.models.patch_versions(
            call.needed_app(), request.model_id, request.model_versions, request.action
        )
        return self._many_versions(call, request.model_id, versions)

    def DeleteModelVersion(self, call: Call, request: service_pb2.DeleteModelVersionRequest) -> status_pb2.BaseResponse:
        """Deletes a version; one in training is cancelled by that."""
        self.models.delete_version(call.needed_app(), request.model_id, request.version_id)
        return status_pb2.BaseResponse()

    def ListModelConcepts(
        self, call: Call, request: service_pb2.ListModelConceptsRequest
    ) -> service_pb2.MultiConceptResponse:
        """What a version knows."""
        page = paging(request.page, request.per_page)
        concepts = self.models.concepts(call.needed_app(), request.model_id, request.version_id, page)
        return service_pb2.MultiConceptResponse(concepts=concepts)

    def ListModelTypes(
        self, call: Call, request: service_pb2.ListModelTypesRequest
    ) -> service_pb2.MultiModelTypeResponse:
        """What can be trained, with every template and hyperparameter."""
        page = paging(request.page, request.per_page)
        start = (page.page - 1) * page.per_page
        types = model_types.list_types()[start : start + page.per_page]
        return service_pb2.MultiModelTypeResponse(model_types=types)

    def GetModelType(self, call: Call, request: service_pb2.GetModelTypeRequest) -> service_pb2.SingleModelTypeResponse:
        """One model type."""
        return service_pb2.SingleModelTypeResponse(model_type=model_types.get_type(request.model_type_id))

    def PostModelOutputs(
        self, call: Call, request: service_pb2.PostModelOutputsRequest
    ) -> service_pb2.MultiOutputResponse:
        """Predicts."""
        if not request.model_id:
            raise InvalidModel("model_id is empty: name the model to predict with.")
        return self.predict.outputs(call.needed_app(), request)

    def _many_versions(
        self, call: Call, model_id: str, versions: Iterable[resources_pb2.ModelVersion]
    ) -> service_pb2.MultiModelVersionResponse:
        answer = service_pb2.MultiModelVersionResponse(model_versions=versions)
        for version in answer.model_versions:
            self._add_log(call, model_id, version)
        return answer

    def _shown(self, call: Call, model: resources_pb2.Model) -> resources_pb2.Model:
        if model.HasField("model_version"):
            self._add_log(call, model.id, model.model_version)
        return model

    def _add_log(self, call: Call, model_id: str, version: resources_pb2.ModelVersion) -> None:
        """The address of the training log, readable without a key because it is signed and expires."""
        if version.status.code == status_code_pb2.MODEL_UNTRAINED or call.caller.user_id != version.user_id:
            return  # a log names inputs: it is the owner's, however public the version
        path = f"/logs/users/{version.user_id}/apps/{version.app_id}/models/{model_id}/versions/{version.id}"
        version.train_log = call.base_url + self.signer.signed(path)
