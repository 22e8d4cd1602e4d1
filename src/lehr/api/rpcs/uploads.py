"""RPCs of uploads in parts, and of the archives among them that become inputs."""

from __future__ import annotations

from dataclasses import dataclass

from lehr.api.calls import Call
from lehr.errors import InvalidRequest
from lehr.protocol import service_pb2, status_pb2
from lehr.services.extractions import Extractions, sourced, uploaded
from lehr.services.paging import paging
from lehr.services.uploads import Uploads


@dataclass(frozen=True, kw_only=True)
class UploadRpcs:
    """Files that come in pieces."""

    uploads: Uploads
    extractions: Extractions

    def PostUploads(self, call: Call, request: service_pb2.PostUploadsRequest) -> service_pb2.MultiUploadResponse:
        """Opens uploads."""
        return service_pb2.MultiUploadResponse(uploads=self.uploads.post(call.needed_app(), request.uploads))

    def PutUploadContentParts(
        self, call: Call, request: service_pb2.PutUploadContentPartsRequest
    ) -> service_pb2.SingleUploadResponse:
        """Keeps parts of an upload."""
        done = self.uploads.put_parts(call.needed_app(), request.upload_id, request.content_parts)
        return service_pb2.SingleUploadResponse(upload=done)

    def GetUpload(self, call: Call, request: service_pb2.GetUploadRequest) -> service_pb2.SingleUploadResponse:
        """One upload: how much of it is there."""
        return service_pb2.SingleUploadResponse(upload=self.uploads.get(call.needed_app(), request.upload_id))

    def ListUploads(self, call: Call, request: service_pb2.ListUploadsRequest) -> service_pb2.MultiUploadResponse:
        """The app's uploads, newest first."""
        page = paging(request.page, request.per_page)
        return service_pb2.MultiUploadResponse(uploads=self.uploads.list_of(call.needed_app(), page))

    def DeleteUploads(self, call: Call, request: service_pb2.DeleteUploadsRequest) -> status_pb2.BaseResponse:
        """Deletes uploads; an empty list deletes none."""
        self.uploads.delete(call.needed_app(), request.ids)
        return status_pb2.BaseResponse()

    def PostInputsUploads(
        self, call: Call, request: service_pb2.PostInputsUploadsRequest
    ) -> service_pb2.MultiInputsAddJobResponse:
        """Makes inputs of uploaded archives."""
        orders = [uploaded(order) for order in request.inputs_uploads]
        jobs = self.extractions.post(call.needed_app(), call.caller.user_id, orders)
        return service_pb2.MultiInputsAddJobResponse(inputs_add_jobs=jobs)

    def PostInputsDataSources(
        self, call: Call, request: service_pb2.PostInputsDataSourcesRequest
    ) -> service_pb2.MultiInputsAddJobResponse:
        """Makes inputs of archives behind URLs."""
        if request.call_back_url:
            raise InvalidRequest("call_back_url is not offered: this server calls nobody; poll GetInputsAddJob.")
        orders = [sourced(order) for order in request.data_sources]
        jobs = self.extractions.post(call.needed_app(), call.caller.user_id, orders)
        return service_pb2.MultiInputsAddJobResponse(inputs_add_jobs=jobs)

    def GetInputsExtractionJob(
        self, call: Call, request: service_pb2.GetInputsExtractionJobRequest
    ) -> service_pb2.SingleInputsExtractionJobResponse:
        """How far an archive is."""
        found = self.extractions.get(call.needed_app(), request.inputs_extraction_job_id)
        return service_pb2.SingleInputsExtractionJobResponse(inputs_extraction_job=found)

    def ListInputsExtractionJobs(
        self, call: Call, request: service_pb2.ListInputsExtractionJobsRequest
    ) -> service_pb2.MultiInputsExtractionJobResponse:
        """The app's archives, newest first."""
        page = paging(request.page, request.per_page)
        found = self.extractions.list_of(call.needed_app(), page)
        return service_pb2.MultiInputsExtractionJobResponse(inputs_extraction_jobs=found)

    def CancelInputsExtractionJobs(
        self, call: Call, request: service_pb2.CancelInputsExtractionJobsRequest
    ) -> service_pb2.MultiInputsExtractionJobResponse:
        """Stops unpacking; an empty list stops none."""
        stopped = self.extractions.cancel(call.needed_app(), request.ids)
        return service_pb2.MultiInputsExtractionJobResponse(inputs_extraction_jobs=stopped)
