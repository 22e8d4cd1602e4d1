"""RPCs of annotations."""

from __future__ import annotations

from dataclasses import dataclass

from lehr.api.calls import Call
from lehr.protocol import service_pb2, status_pb2
from lehr.services.annotations import Annotations, Wanted, paired
from lehr.services.paging import paging
from lehr.store.annotations import AnnotationFilter


@dataclass(frozen=True, kw_only=True)
class AnnotationRpcs:
    """What is said of inputs."""

    annotations: Annotations

    def PostAnnotations(
        self, call: Call, request: service_pb2.PostAnnotationsRequest
    ) -> service_pb2.MultiAnnotationResponse:
        """Adds annotations; each has its own status."""
        done = self.annotations.post(call.needed_app(), call.caller.user_id, request.annotations)
        return service_pb2.MultiAnnotationResponse(status=done.status, annotations=done.annotations)

    def GetAnnotation(
        self, call: Call, request: service_pb2.GetAnnotationRequest
    ) -> service_pb2.SingleAnnotationResponse:
        """One annotation."""
        found = self.annotations.get(call.needed_app(), request.input_id, request.annotation_id)
        return service_pb2.SingleAnnotationResponse(annotation=found)

    def ListAnnotations(
        self, call: Call, request: service_pb2.ListAnnotationsRequest
    ) -> service_pb2.MultiAnnotationResponse:
        """Annotations of the app or of some inputs, oldest first."""
        page = paging(request.page, request.per_page)
        found = self.annotations.list_of(call.needed_app(), _wanted(request), page)
        return service_pb2.MultiAnnotationResponse(annotations=found)

    def ListAnnotationWorkers(
        self, call: Call, request: service_pb2.ListAnnotationWorkersRequest
    ) -> service_pb2.MultiWorkerResponse:
        """Who annotated in the app: people, models and workflows."""
        found = self.annotations.workers(
            call.needed_app(),
            paging(request.page, request.per_page),
            people_only=request.trusted_only,
            with_names=bool({"all", "names"} & set(request.additional_fields)),
        )
        return service_pb2.MultiWorkerResponse(workers=found)

    def PatchAnnotations(
        self, call: Call, request: service_pb2.PatchAnnotationsRequest
    ) -> service_pb2.MultiAnnotationResponse:
        """Changes annotations."""
        done = self.annotations.patch(
            call.needed_app(), request.annotations, request.action, delete_if_empty=request.delete_if_empty_data
        )
        return service_pb2.MultiAnnotationResponse(annotations=done)

    def DeleteAnnotation(self, call: Call, request: service_pb2.DeleteAnnotationRequest) -> status_pb2.BaseResponse:
        """Deletes one annotation."""
        self.annotations.delete_one(call.needed_app(), request.input_id, request.annotation_id)
        return status_pb2.BaseResponse()

    def DeleteAnnotations(self, call: Call, request: service_pb2.DeleteAnnotationsRequest) -> status_pb2.BaseResponse:
        """Deletes annotations of the inputs named; all of them where no annotation is named."""
        self.annotations.delete(call.needed_app(), request.input_ids, request.ids)
        return status_pb2.BaseResponse()


def _wanted(request: service_pb2.ListAnnotationsRequest) -> Wanted:
    workers = [*request.user_ids, *request.model_version_ids, *request.workflow_version_ids]
    filters = AnnotationFilter(
        input_ids=tuple(request.input_ids),
        user_ids=tuple(request.user_ids),
        model_version_ids=tuple(request.model_version_ids),
        workflow_version_ids=tuple(request.workflow_version_ids),
        statuses=tuple(status.code for status in request.statuses),
        task_id=request.task_id,
    )
    return Wanted(
        filters=filters,
        pairs=paired(request.input_ids, request.ids),
        also_by_models=request.list_all_annotations or bool(workers),
    )
