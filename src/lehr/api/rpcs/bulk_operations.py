"""RPCs of operations on many inputs."""

from __future__ import annotations

from dataclasses import dataclass

from lehr.api.calls import Call
from lehr.protocol import service_pb2, status_pb2
from lehr.services.bulk_operations import BulkOperations
from lehr.services.paging import paging


@dataclass(frozen=True, kw_only=True)
class BulkRpcs:
    """Asked for, followed, cancelled."""

    bulk: BulkOperations

    def PostBulkOperations(
        self, call: Call, request: service_pb2.PostBulkOperationsRequest
    ) -> service_pb2.MultiBulkOperationsResponse:
        """Asks for operations; they run in the background."""
        made = self.bulk.post(call.needed_app(), call.caller.user_id, request.bulk_operations)
        return service_pb2.MultiBulkOperationsResponse(bulk_operation=made)

    def ListBulkOperations(
        self, call: Call, request: service_pb2.ListBulkOperationsRequest
    ) -> service_pb2.MultiBulkOperationsResponse:
        """The app's operations, newest first."""
        found = self.bulk.list_of(call.needed_app(), paging(request.page, request.per_page))
        return service_pb2.MultiBulkOperationsResponse(bulk_operation=found)

    def GetBulkOperation(
        self, call: Call, request: service_pb2.GetBulkOperationRequest
    ) -> service_pb2.SingleBulkOperationsResponse:
        """One operation: how far it is."""
        found = self.bulk.get(call.needed_app(), request.id)
        return service_pb2.SingleBulkOperationsResponse(bulk_operation=found)

    def CancelBulkOperations(
        self, call: Call, request: service_pb2.CancelBulkOperationRequest
    ) -> service_pb2.MultiBulkOperationsResponse:
        """Stops operations; an empty list stops none."""
        stopped = self.bulk.cancel(call.needed_app(), request.ids)
        return service_pb2.MultiBulkOperationsResponse(bulk_operation=stopped)

    def DeleteBulkOperations(
        self, call: Call, request: service_pb2.DeleteBulkOperationRequest
    ) -> status_pb2.BaseResponse:
        """Forgets operations; an empty list forgets none."""
        self.bulk.delete(call.needed_app(), request.ids)
        return status_pb2.BaseResponse()
