"""RPCs of inputs and of the uploads they come with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lehr.api.calls import Call
from lehr.protocol import resources_pb2, service_pb2, status_pb2
from lehr.services.add_jobs import AddJobs
from lehr.services.inputs import Inputs, Upload
from lehr.services.media import shown
from lehr.services.paging import paging


@dataclass(frozen=True, kw_only=True)
class InputRpcs:
    """What an app is made of."""

    inputs: Inputs
    add_jobs: AddJobs

    def PostInputs(self, call: Call, request: service_pb2.PostInputsRequest) -> service_pb2.MultiInputResponse:
        """Takes inputs in; each has its own status."""
        upload = Upload(
            inputs=request.inputs,
            add_job_id=request.inputs_add_job_id,
            with_suffixes=request.input_id_conflict_resolution == resources_pb2.SUFFIX,
        )
        done = self.inputs.post(call.needed_app(), call.caller.user_id, upload)
        return service_pb2.MultiInputResponse(
            status=done.status, inputs=shown_all(call, done.inputs), inputs_add_job=done.add_job
        )

    def GetInput(self, call: Call, request: service_pb2.GetInputRequest) -> service_pb2.SingleInputResponse:
        """One input."""
        ref = call.needed_app()
        found = self.inputs.get(ref, request.input_id)
        return service_pb2.SingleInputResponse(input=shown(found, ref, call.base_url))

    def ListInputs(self, call: Call, request: service_pb2.ListInputsRequest) -> service_pb2.MultiInputResponse:
        """The app's inputs, oldest first."""
        page = paging(request.page, request.per_page)
        found = self.inputs.list_of(call.needed_app(), page, ids=request.ids, status_code=request.status.code)
        return service_pb2.MultiInputResponse(inputs=shown_all(call, found))

    def StreamInputs(self, call: Call, request: service_pb2.StreamInputsRequest) -> service_pb2.MultiInputResponse:
        """The app's inputs from the one named last on: what to list many of them with."""
        found = self.inputs.stream(
            call.needed_app(),
            request.last_id,
            paging(1, request.per_page).per_page,
            by_id=request.order_by_id,
            descending=request.descending,
        )
        return service_pb2.MultiInputResponse(inputs=shown_all(call, found))

    def PatchInputs(self, call: Call, request: service_pb2.PatchInputsRequest) -> service_pb2.MultiInputResponse:
        """Changes concepts, metadata and geo of inputs."""
        done = self.inputs.patch(call.needed_app(), call.caller.user_id, request.inputs, request.action)
        return service_pb2.MultiInputResponse(inputs=shown_all(call, done))

    def DeleteInput(self, call: Call, request: service_pb2.DeleteInputRequest) -> status_pb2.BaseResponse:
        """Deletes one input."""
        self.inputs.delete_one(call.needed_app(), request.input_id)
        return status_pb2.BaseResponse()

    def DeleteInputs(self, call: Call, request: service_pb2.DeleteInputsRequest) -> status_pb2.BaseResponse:
        """Deletes the inputs of these ids; an empty list deletes nothing."""
        self.inputs.delete(call.needed_app(), request.ids)
        return status_pb2.BaseResponse()

    def GetInputCount(
        self, call: Call, request: service_pb2.GetInputCountRequest
    ) -> service_pb2.SingleInputCountResponse:
        """How many inputs are in which state."""
        return service_pb2.SingleInputCountResponse(counts=self.inputs.count(call.needed_app()))

    def GetInputsAddJob(
        self, call: Call, request: service_pb2.GetInputsAddJobRequest
    ) -> service_pb2.SingleInputsAddJobResponse:
        """How far an upload is; waits a moment for its end."""
        found = self.add_jobs.get(call.needed_app(), request.id)
        return service_pb2.SingleInputsAddJobResponse(inputs_add_job=found)

    def ListInputsAddJobs(
        self, call: Call, request: service_pb2.ListInputsAddJobsRequest
    ) -> service_pb2.MultiInputsAddJobResponse:
        """The app's uploads, newest first."""
        page = paging(request.page, request.per_page)
        found = self.add_jobs.list_of(call.needed_app(), page)
        return service_pb2.MultiInputsAddJobResponse(inputs_add_jobs=found)

    def CancelInputsAddJob(
        self, call: Call, request: service_pb2.CancelInputsAddJobRequest
    ) -> service_pb2.SingleInputsAddJobResponse:
        """Stops the processing of an upload."""
        done = self.add_jobs.cancel(call.needed_app(), request.id)
        return service_pb2.SingleInputsAddJobResponse(inputs_add_job=done)


def shown_all(call: Call, inputs: Iterable[resources_pb2.Input]) -> list[resources_pb2.Input]:
    """Inputs with addresses as this client reaches us."""
    ref = call.needed_app()
    return [shown(input_, ref, call.base_url) for input_ in inputs]
