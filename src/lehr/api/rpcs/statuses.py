"""RPCs about the service itself: status codes and the scopes of the key in hand."""

from __future__ import annotations

from dataclasses import dataclass

from lehr.api.calls import Call
from lehr.errors import NotFound
from lehr.protocol import service_pb2, status_code_pb2
from lehr.protocol.statuses import status


@dataclass(frozen=True)
class StatusRpcs:
    """Needs nothing."""

    def ListStatusCodes(
        self, call: Call, request: service_pb2.ListStatusCodesRequest
    ) -> service_pb2.MultiStatusCodeResponse:
        """Every status code with its description."""
        codes = [code for code in status_code_pb2.StatusCode.values() if code]
        return service_pb2.MultiStatusCodeResponse(statuses=[status(code) for code in codes])

    def GetStatusCode(
        self, call: Call, request: service_pb2.GetStatusCodeRequest
    ) -> service_pb2.SingleStatusCodeResponse:
        """One status code."""
        text = request.status_code_id
        code = next((code for code in status_code_pb2.StatusCode.values() if str(code) == text), None)
        if code is None:
            raise NotFound(f"There is no status code {text[:80]!r}; ListStatusCodes names them all.")
        return service_pb2.SingleStatusCodeResponse(status=status(code))

    def MyScopes(self, call: Call, request: service_pb2.MyScopesRequest) -> service_pb2.MultiScopeResponse:
        """What the key in hand may do."""
        names = sorted(each for each in call.caller.scopes if not each.startswith("/"))
        return service_pb2.MultiScopeResponse(scopes=names)
