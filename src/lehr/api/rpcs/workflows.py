"""RPCs of workflows, their versions and their results."""

from __future__ import annotations

from dataclasses import dataclass

from lehr.api.calls import Call
from lehr.protocol import service_pb2, status_pb2
from lehr.services.paging import paging
from lehr.services.workflow_runs import WorkflowRuns
from lehr.services.workflows import Order, Workflows


@dataclass(frozen=True, kw_only=True)
class WorkflowRpcs:
    """Graphs of models, and what they give."""

    workflows: Workflows
    runs: WorkflowRuns

    def PostWorkflows(self, call: Call, request: service_pb2.PostWorkflowsRequest) -> service_pb2.MultiWorkflowResponse:
        """Makes workflows, all or none."""
        made = self.workflows.create(call.needed_app(), request.workflows, confined=call.is_confined)
        return service_pb2.MultiWorkflowResponse(workflows=made)

    def GetWorkflow(self, call: Call, request: service_pb2.GetWorkflowRequest) -> service_pb2.SingleWorkflowResponse:
        """One workflow with its newest version."""
        found = self.workflows.get(call.needed_app(), request.workflow_id)
        return service_pb2.SingleWorkflowResponse(workflow=found)

    def ListWorkflows(self, call: Call, request: service_pb2.ListWorkflowsRequest) -> service_pb2.MultiWorkflowResponse:
        """The workflows of the app, or of all the user's apps. Nobody has starred or bookmarked any."""
        page = paging(request.page, request.per_page)
        if request.starred_only or request.bookmark or request.featured_only:
            return service_pb2.MultiWorkflowResponse()
        refs = [call.app] if call.app else self.workflows.apps_of(call.user_id)
        return service_pb2.MultiWorkflowResponse(workflows=self.workflows.list_of(refs, page, _order(request)))

    def PatchWorkflows(
        self, call: Call, request: service_pb2.PatchWorkflowsRequest
    ) -> service_pb2.MultiWorkflowResponse:
        """Changes workflows."""
        done = self.workflows.patch(call.needed_app(), request.workflows, request.action, confined=call.is_confined)
        return service_pb2.MultiWorkflowResponse(workflows=done)

    def PatchWorkflowIds(
        self, call: Call, request: service_pb2.PatchWorkflowIdsRequest
    ) -> service_pb2.MultiWorkflowResponse:
        """Gives workflows other ids."""
        done = self.workflows.rename(call.needed_app(), [(pair.id, pair.new_id) for pair in request.ids])
        return service_pb2.MultiWorkflowResponse(workflows=done)

    def DeleteWorkflow(self, call: Call, request: service_pb2.DeleteWorkflowRequest) -> status_pb2.BaseResponse:
        """Deletes one workflow."""
        self.workflows.delete(call.needed_app(), [request.workflow_id])
        return status_pb2.BaseResponse()

    def DeleteWorkflows(self, call: Call, request: service_pb2.DeleteWorkflowsRequest) -> status_pb2.BaseResponse:
        """Deletes the workflows named; all but the app's default one only with `delete_all`."""
        self.workflows.delete(call.needed_app(), request.ids, everything=request.delete_all)
        return status_pb2.BaseResponse()

    def PostWorkflowResults(
        self, call: Call, request: service_pb2.PostWorkflowResultsRequest
    ) -> service_pb2.PostWorkflowResultsResponse:
        """Runs a workflow; without an id, the app's default one."""
        ref, caller = call.needed_app(), call.caller
        may_write = self.runs.may_annotate(ref, caller.user_id, caller.scopes)
        return self.runs.results(ref, request, may_write=may_write)

    # -- versions ------------------------------------------------------------------------------------------------------

    def ListWorkflowVersions(
        self, call: Call, request: service_pb2.ListWorkflowVersionsRequest
    ) -> service_pb2.MultiWorkflowVersionResponse:
        """A workflow's versions, newest first."""
        page = paging(request.page, request.per_page)
        found = self.workflows.list_versions(call.needed_app(), request.workflow_id, page)
        return service_pb2.MultiWorkflowVersionResponse(workflow_versions=found)

    def GetWorkflowVersion(
        self, call: Call, request: service_pb2.GetWorkflowVersionRequest
    ) -> service_pb2.SingleWorkflowVersionResponse:
        """One version."""
        found = self.workflows.get_version(call.needed_app(), request.workflow_id, request.workflow_version_id)
        return service_pb2.SingleWorkflowVersionResponse(workflow_version=found)

    def PatchWorkflowVersions(
        self, call: Call, request: service_pb2.PatchWorkflowVersionsRequest
    ) -> service_pb2.MultiWorkflowVersionResponse:
        """Changes what is said of versions."""
        done = self.workflows.patch_versions(
            call.needed_app(), request.workflow_id, request.workflow_versions, request.action
        )
        return service_pb2.MultiWorkflowVersionResponse(workflow_versions=done)

    def DeleteWorkflowVersions(
        self, call: Call, request: service_pb2.DeleteWorkflowVersionsRequest
    ) -> status_pb2.BaseResponse:
        """Deletes versions; an empty list deletes nothing."""
        self.workflows.delete_versions(call.needed_app(), request.workflow_id, request.workflow_version_ids)
        return status_pb2.BaseResponse()

    def PostWorkflowVersionsPublish(
        self, call: Call, request: service_pb2.PostWorkflowVersionsPublishRequest
    ) -> status_pb2.BaseResponse:
        """Makes versions public."""
        ids = [each.version_id for each in request.publications]
        self.workflows.set_visibility(call.needed_app(), request.workflow_id, ids, is_public=True)
        return status_pb2.BaseResponse()

    def PostWorkflowVersionsUnPublish(
        self, call: Call, request: service_pb2.PostWorkflowVersionsUnPublishRequest
    ) -> status_pb2.BaseResponse:
        """Makes versions private again."""
        ids = [each.version_id for each in request.publications]
        self.workflows.set_visibility(call.needed_app(), request.workflow_id, ids, is_public=False)
        return status_pb2.BaseResponse()


def _order(request: service_pb2.ListWorkflowsRequest) -> Order:
    by = "modified_at"
    if request.sort_by_id:
        by = "id"
    elif request.sort_by_created_at:
        by = "created_at"
    like = " ".join(filter(None, (request.query, request.search, request.search_term, request.id)))
    return Order(like=like, by=by, is_ascending=request.sort_ascending)
