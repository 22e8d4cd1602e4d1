"""RPCs of what is made of a frozen version of a data set: files and figures."""

from __future__ import annotations

from dataclasses import dataclass

from lehr.api.calls import Call
from lehr.protocol import resources_pb2, service_pb2
from lehr.services.dataset_exports import SUCCESS, DatasetExports, path_of
from lehr.services.dataset_metrics import DatasetMetrics, Wanted
from lehr.services.paging import paging
from lehr.services.signing import Signer
from lehr.store.dataset_exports import ExportRef


@dataclass(frozen=True, kw_only=True)
class DatasetExportRpcs:
    """Asked for, told, and given an address."""

    exports: DatasetExports
    metrics: DatasetMetrics
    signer: Signer

    def PutDatasetVersionExports(
        self, call: Call, request: service_pb2.PutDatasetVersionExportsRequest
    ) -> service_pb2.MultiDatasetVersionExportResponse:
        """Has a version exported; asked again, it answers how that stands, and in the end where the file is."""
        version = request.dataset_id, request.dataset_version_id
        exports = self.exports.request(call.needed_app(), version, request.exports, call.base_url)
        shown = [self._addressed(call, version, export) for export in exports]
        return service_pb2.MultiDatasetVersionExportResponse(exports=shown)

    def ListDatasetVersionMetricsGroups(
        self, call: Call, request: service_pb2.ListDatasetVersionMetricsGroupsRequest
    ) -> service_pb2.MultiDatasetVersionMetricsGroupResponse:
        """Figures of a version; none while they are being counted."""
        wanted = Wanted(parent_paths=request.parent_paths, types=request.types, values=request.values)
        version = request.dataset_id, request.dataset_version_id
        page = paging(request.page, request.per_page)
        found = self.metrics.list_of(call.needed_app(), version, wanted, page)
        return service_pb2.MultiDatasetVersionMetricsGroupResponse(dataset_version_metrics_groups=found)

    def _addressed(
        self, call: Call, version: tuple[str, str], export: resources_pb2.DatasetVersionExport
    ) -> resources_pb2.DatasetVersionExport:
        if export.status.code == SUCCESS:
            dataset_id, version_id = version
            ref = ExportRef(app=call.needed_app(), dataset_id=dataset_id, version_id=version_id, format=export.format)
            export.url = call.base_url + self.signer.signed(path_of(ref))
        return export
