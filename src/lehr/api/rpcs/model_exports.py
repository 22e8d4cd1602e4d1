"""RPCs of exports: a trained version as a file for use elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from lehr.api.calls import Call
from lehr.protocol import resources_pb2, service_pb2, status_code_pb2
from lehr.protocol.statuses import status
from lehr.services.exports import FAILED, Exports, path_of
from lehr.services.signing import Signer
from lehr.store.versions import ModelVersionRef


@dataclass(frozen=True, kw_only=True)
class ModelExportRpcs:
    """Asked for, told, and given an address."""

    exports: Exports
    signer: Signer

    def PutModelVersionExports(
        self, call: Call, request: service_pb2.PutModelVersionExportsRequest
    ) -> service_pb2.SingleModelVersionExportResponse:
        """Has a version exported; asked again, it answers with what there is."""
        vref = ModelVersionRef(call.needed_app(), request.model_id, request.version_id)
        export = self._shown(call, vref, self.exports.request(vref))
        return service_pb2.SingleModelVersionExportResponse(export=export)

    def GetModelVersionExport(
        self, call: Call, request: service_pb2.GetModelVersionExportRequest
    ) -> service_pb2.SingleModelVersionExportResponse:
        """How the export stands; once it is there, its address, which is signed and expires.

        A failed one fails this call too: the Python package would ask again without end, and without a pause.
        """
        vref = ModelVersionRef(call.needed_app(), request.model_id, request.version_id)
        export = self._shown(call, vref, self.exports.get(vref))
        answer = service_pb2.SingleModelVersionExportResponse(export=export)
        if export.status.code == FAILED:
            answer.status.CopyFrom(status(FAILED, export.status.details, http=200))
        return answer

    def _shown(
        self, call: Call, vref: ModelVersionRef, export: resources_pb2.ModelVersionExport
    ) -> resources_pb2.ModelVersionExport:
        if export.status.code == status_code_pb2.MODEL_EXPORTED:
            export.url = call.base_url + self.signer.signed(path_of(vref))
        return export
