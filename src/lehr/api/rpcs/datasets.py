"""RPCs of data sets and their versions."""

from __future__ import annotations

from dataclasses import dataclass

from lehr.api.calls import Call
from lehr.protocol import resources_pb2, service_pb2, status_pb2
from lehr.services.dataset_versions import DatasetVersions
from lehr.services.datasets import Datasets, Order
from lehr.services.media import shown
from lehr.services.paging import paging


@dataclass(frozen=True, kw_only=True)
class DatasetRpcs:
    """Named selections of inputs."""

    datasets: Datasets
    versions: DatasetVersions

    def PostDatasets(self, call: Call, request: service_pb2.PostDatasetsRequest) -> service_pb2.MultiDatasetResponse:
        """Makes data sets, all or none."""
        made = self.datasets.create(call.needed_app(), request.datasets)
        return service_pb2.MultiDatasetResponse(datasets=made)

    def GetDataset(self, call: Call, request: service_pb2.GetDatasetRequest) -> service_pb2.SingleDatasetResponse:
        """One data set."""
        found = self.datasets.get(call.needed_app(), request.dataset_id)
        return service_pb2.SingleDatasetResponse(dataset=found)

    def ListDatasets(self, call: Call, request: service_pb2.ListDatasetsRequest) -> service_pb2.MultiDatasetResponse:
        """The app's data sets, the last changed first unless asked otherwise. Nobody has starred or bookmarked any."""
        page = paging(request.page, request.per_page)
        ref = call.needed_app()
        found = [] if request.starred_only or request.bookmark else self.datasets.list_of(ref, page, _order(request))
        return service_pb2.MultiDatasetResponse(datasets=found)

    def PatchDatasets(self, call: Call, request: service_pb2.PatchDatasetsRequest) -> service_pb2.MultiDatasetResponse:
        """Changes data sets."""
        done = self.datasets.patch(call.needed_app(), request.datasets, request.action)
        return service_pb2.MultiDatasetResponse(datasets=done)

    def DeleteDatasets(self, call: Call, request: service_pb2.DeleteDatasetsRequest) -> status_pb2.BaseResponse:
        """Deletes the data sets of these ids; an empty list deletes nothing."""
        self.datasets.delete(call.needed_app(), request.dataset_ids)
        return status_pb2.BaseResponse()

    def PostDatasetInputs(
        self, call: Call, request: service_pb2.PostDatasetInputsRequest
    ) -> service_pb2.MultiDatasetInputResponse:
        """Puts inputs into a data set: by their ids, or all that a search finds."""
        ref = call.needed_app()
        if request.HasField("search"):
            self.datasets.add_found(ref, request.dataset_id, request.search)
            if not request.dataset_inputs:
                return service_pb2.MultiDatasetInputResponse()
        ids = [item.input.id for item in request.dataset_inputs]
        added = self.datasets.add_inputs(ref, request.dataset_id, ids)
        return service_pb2.MultiDatasetInputResponse(
            status=added.status, dataset_inputs=[_shown(call, item) for item in added.inputs]
        )

    def ListDatasetInputs(
        self, call: Call, request: service_pb2.ListDatasetInputsRequest
    ) -> service_pb2.MultiDatasetInputResponse:
        """The data set's inputs, the first put in first."""
        page = paging(request.page, request.per_page)
        found = self.datasets.list_inputs(call.needed_app(), request.dataset_id, page)
        return service_pb2.MultiDatasetInputResponse(dataset_inputs=[_shown(call, item) for item in found])

    def GetDatasetInput(
        self, call: Call, request: service_pb2.GetDatasetInputRequest
    ) -> service_pb2.SingleDatasetInputResponse:
        """One input of a data set."""
        found = self.datasets.get_input(call.needed_app(), request.dataset_id, request.input_id)
        return service_pb2.SingleDatasetInputResponse(dataset_input=_shown(call, found))

    def DeleteDatasetInputs(
        self, call: Call, request: service_pb2.DeleteDatasetInputsRequest
    ) -> status_pb2.BaseResponse:
        """Takes inputs out of a data set; an empty list takes out none."""
        self.datasets.remove_inputs(call.needed_app(), request.dataset_id, request.input_ids)
        return status_pb2.BaseResponse()

    def PostDatasetVersions(
        self, call: Call, request: service_pb2.PostDatasetVersionsRequest
    ) -> service_pb2.MultiDatasetVersionResponse:
        """Freezes a data set."""
        made = self.versions.create(call.needed_app(), request.dataset_id, request.dataset_versions)
        return service_pb2.MultiDatasetVersionResponse(dataset_versions=made)

    def GetDatasetVersion(
        self, call: Call, request: service_pb2.GetDatasetVersionRequest
    ) -> service_pb2.SingleDatasetVersionResponse:
        """One version."""
        found = self.versions.get(call.needed_app(), request.dataset_id, request.dataset_version_id)
        return service_pb2.SingleDatasetVersionResponse(dataset_version=found)

    def ListDatasetVersions(
        self, call: Call, request: service_pb2.ListDatasetVersionsRequest
    ) -> service_pb2.MultiDatasetVersionResponse:
        """A data set's versions, newest first."""
        page = paging(request.page, request.per_page)
        found = self.versions.list_of(call.needed_app(), request.dataset_id, page)
        return service_pb2.MultiDatasetVersionResponse(dataset_versions=found)

    def PatchDatasetVersions(
        self, call: Call, request: service_pb2.PatchDatasetVersionsRequest
    ) -> service_pb2.MultiDatasetVersionResponse:
        """Changes what is said of versions."""
        done = self.versions.patch(call.needed_app(), request.dataset_id, request.dataset_versions, request.action)
        return service_pb2.MultiDatasetVersionResponse(dataset_versions=done)

    def DeleteDatasetVersions(
        self, call: Call, request: service_pb2.DeleteDatasetVersionsRequest
    ) -> status_pb2.BaseResponse:
        """Deletes versions; an empty list deletes none."""
        self.versions.delete(call.needed_app(), request.dataset_id, request.dataset_version_ids)
        return status_pb2.BaseResponse()


def _order(request: service_pb2.ListDatasetsRequest) -> Order:
    by = "id" if request.sort_by_id else "created_at" if request.sort_by_created_at else "modified_at"
    return Order(like=request.search or request.id, by=by, is_ascending=request.sort_ascending)


def _shown(call: Call, item: resources_pb2.DatasetInput) -> resources_pb2.DatasetInput:
    return resources_pb2.DatasetInput(
        created_at=item.created_at, input=shown(item.input, call.needed_app(), call.base_url)
    )
